//! Roles, and what each may do: the one table that HTTP and CLI go by.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A person's role; each may do all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "http", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees actions.
    Viewer,
    /// Approves and rejects, and raises the kill switch.
    Approver,
    /// Releases the kill switch, and manages keys and people.
    Admin,
}

/// What a person can be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Permission {
    /// To see every action with its arguments.
    See,
    /// To approve and reject.
    Decide,
    /// To raise the kill switch. Stopping is the safe side: whoever decides may stop.
    Stop,
    /// To release the kill switch.
    Release,
    /// To manage agents' keys, people and their tokens.
    Administer,
}

impl Permission {
    /// The least role that has it.
    #[must_use]
    pub const fn role(self) -> Role {
        match self {
            Self::See => Role::Viewer,
            Self::Decide | Self::Stop => Role::Approver,
            Self::Release | Self::Administer => Role::Admin,
        }
    }

    /// In words, after "to".
    pub(crate) const fn verb(self) -> &'static str {
        match self {
            Self::See => "see actions",
            Self::Decide => "approve and reject",
            Self::Stop => "raise the kill switch",
            Self::Release => "release the kill switch",
            Self::Administer => "manage keys and users",
        }
    }
}

impl Role {
    const ALL: [Self; 3] = [Self::Viewer, Self::Approver, Self::Admin];

    /// Whether the role has the permission.
    ///
    /// ```
    /// use ascend_center::{Permission, Role};
    /// assert!(Role::Admin.may(Permission::Decide));
    /// assert!(!Role::Viewer.may(Permission::Decide));
    /// ```
    #[must_use]
    pub fn may(self, permission: Permission) -> bool {
        self >= permission.role()
    }

    /// The role as a word, as the database and the CLI know it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no [`Role`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected `viewer`, `approver` or `admin`")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

/// Why a person may not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAllowed {
    /// Their role does not reach.
    #[error("{name} is {role}; to {} takes the role {}", .needs.verb(), .needs.role())]
    Role {
        /// Who it is.
        name: String,
        /// Their role.
        role: Role,
        /// What they wanted to do.
        needs: Permission,
    },
    /// Their account was disabled, or is gone.
    #[error("the account of {name} is disabled")]
    Disabled {
        /// Who it is.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_back_and_include_each_other() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert_eq!("root".parse::<Role>(), Err(UnknownRole));
        let table = [
            (Permission::See, [true, true, true]),
            (Permission::Decide, [false, true, true]),
            (Permission::Stop, [false, true, true]),
            (Permission::Release, [false, false, true]),
            (Permission::Administer, [false, false, true]),
        ];
        for (permission, expected) in table {
            assert_eq!(Role::ALL.map(|role| role.may(permission)), expected, "{permission:?}");
        }
    }
}
