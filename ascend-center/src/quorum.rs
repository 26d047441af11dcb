//! What an approval takes: whose votes, and how many. Pure: no clock and no
//! database.
//!
//! An action has rules, one for each way in which policies ask for its approval,
//! frozen when it is opened. It is approved when all of them are met at once, each
//! by enough different people who may approve at that moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use ascend_sdk::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What an approval takes. One person can count for several rules. The fields are in
/// RFC 8785's order, in which the audit log has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "http", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Rule {
    /// The group whose members approve; `None`: every approver.
    pub approvers: Option<String>,
    /// The group whose members count too from half of the action's time on.
    pub escalate_to: Option<String>,
    /// Whether a grant counts as a vote of who gave it.
    pub grants: GrantUse,
    /// The policies that ask for it, by `@id`; none: the tool itself does.
    #[serde(default)]
    pub policies: Vec<String>,
    /// How many different people.
    pub quorum: u32,
    /// Within what time, in seconds; `None`: within the caller's own.
    #[serde(rename = "within_seconds", with = "seconds")]
    #[cfg_attr(feature = "http", schema(value_type = Option<u64>))]
    pub within: Option<Duration>,
}

/// Whether grants count for a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "http", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum GrantUse {
    /// Unless the tool requires a person each time, or the risk is critical.
    #[default]
    UnlessHighRisk,
    /// They do.
    Allow,
    /// They do not.
    Deny,
}

impl Default for Rule {
    /// One approval by anybody who may approve.
    fn default() -> Self {
        Self {
            policies: Vec::new(),
            approvers: None,
            quorum: 1,
            within: None,
            escalate_to: None,
            grants: GrantUse::default(),
        }
    }
}

impl Rule {
    /// Whether it asks for the same, whichever policy does.
    pub(crate) fn asks_same(&self, other: &Self) -> bool {
        let asks = |rule: &Self| {
            let Self { approvers, quorum, within, escalate_to, .. } = rule.clone();
            (approvers, quorum, within, escalate_to)
        };
        asks(self) == asks(other)
    }

    /// The rule as it stands for an action, whose risk is known.
    pub(crate) fn frozen(self, is_high_risk: bool) -> Self {
        let grants = match self.grants {
            GrantUse::UnlessHighRisk if is_high_risk => GrantUse::Deny,
            GrantUse::UnlessHighRisk => GrantUse::Allow,
            grants => grants,
        };
        Self { grants, ..self }
    }

    /// Whether members of these groups count.
    pub(crate) fn is_for(&self, groups: &BTreeSet<String>, is_escalated: bool) -> bool {
        let is_in = |group: &Option<String>| group.as_ref().is_some_and(|it| groups.contains(it));
        self.approvers.is_none()
            || is_in(&self.approvers)
            || is_escalated && is_in(&self.escalate_to)
    }

    /// Whether a grant counts as a vote.
    pub(crate) fn takes_grants(&self) -> bool {
        self.grants != GrantUse::Deny
    }

    /// Who counts, in words.
    pub(crate) fn who(&self, is_escalated: bool) -> String {
        match (&self.approvers, &self.escalate_to) {
            (None, _) => "any approver".to_owned(),
            (Some(group), Some(other)) if is_escalated => format!("`{group}` or `{other}`"),
            (Some(group), _) => format!("`{group}`"),
        }
    }
}

impl fmt::Display for Rule {
    /// ```text
    /// 2 of `dba` within 15m, from half of it on `managers` too
    /// ```
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.approvers {
            Some(group) => write!(f, "{} of `{group}`", self.quorum)?,
            None if self.quorum == 1 => f.write_str("any approver")?,
            None => write!(f, "any {} approvers", self.quorum)?,
        }
        if let Some(within) = self.within {
            write!(f, " within {}", short(within))?;
        }
        if let Some(group) = &self.escalate_to {
            write!(f, ", from half of it on `{group}` too")?;
        }
        match self.grants {
            GrantUse::Deny => f.write_str(", without grants"),
            GrantUse::UnlessHighRisk | GrantUse::Allow => Ok(()),
        }
    }
}

/// As policies write it: `15m`, `1h 30m`.
fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    parts.map(|(count, unit)| format!("{count}{unit}")).collect::<Vec<_>>().join(" ")
}

/// Whether `now` and `then` ask for the same.
pub(crate) fn ask_same(now: &[Rule], then: &[Rule]) -> bool {
    let within = |these: &[Rule], those: &[Rule]| {
        these.iter().all(|rule| those.iter().any(|other| rule.asks_same(other)))
    };
    within(now, then) && within(then, now)
}

/// One person's approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "http", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Vote {
    /// Who.
    pub person: String,
    /// Whether they did it as the owner of the center's directory.
    pub is_owner: bool,
    /// The grant of theirs that it came from; `None`: they decided themselves.
    pub grant: Option<i64>,
    /// What they wrote.
    pub comment: Option<String>,
    /// When.
    #[cfg_attr(feature = "http", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// What they approved.
    #[cfg_attr(feature = "http", schema(value_type = String))]
    pub digest: Digest,
    /// The places of the rules that it counts for; none when its person may not
    /// approve any more.
    pub counts_for: Vec<usize>,
}

impl Vote {
    /// As it stands in `reviewed_by`.
    pub(crate) fn label(&self) -> String {
        match self.grant {
            Some(grant) => format!("grant {grant} of {}", self.person),
            None => self.person.clone(),
        }
    }

    pub(crate) fn is_by(&self, person: &str) -> bool {
        same_person(&self.person, person)
    }
}

/// An account is written in lower case; the owner of the directory is the same
/// person as the account of that name.
pub(crate) fn same_person(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// What is known of who voted, at the moment at which it is counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Voter {
    /// Their account is enabled, and their role approves.
    pub(crate) is_approver: bool,
    /// They have a key of the agent that asked.
    pub(crate) is_requester: bool,
    pub(crate) groups: BTreeSet<String>,
    /// The grant that the vote came from was not revoked.
    pub(crate) grant_stands: bool,
}

/// Notes of each vote for which rules it counts; whether all rules are met.
pub(crate) fn tally(
    rules: &[Rule],
    votes: &mut [Vote],
    voter: impl Fn(&Vote) -> Voter,
    digest: Digest,
    is_escalated: bool,
) -> bool {
    for vote in votes.iter_mut() {
        let voter = voter(vote);
        let counts = |rule: &Rule| {
            let by_grant = rule.grants == GrantUse::Allow && voter.grant_stands;
            vote.digest == digest
                && voter.is_approver
                && !voter.is_requester
                && (vote.grant.is_none() || by_grant)
                && rule.is_for(&voter.groups, is_escalated)
        };
        let places = rules.iter().enumerate().filter(|(_, rule)| counts(rule));
        vote.counts_for = places.map(|(place, _)| place).collect();
    }
    // Without a rule nothing is ever met.
    !rules.is_empty() && progress(rules, votes, is_escalated).iter().all(Progress::is_met)
}

/// How far a rule is met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "http", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Progress {
    /// Who can approve now, in words.
    pub who: String,
    /// How many different people it takes.
    pub quorum: u32,
    /// Those who have, a grant as `grant 7 of alice`.
    pub approved_by: Vec<String>,
    /// How many are missing.
    pub missing: u32,
}

impl Progress {
    fn is_met(&self) -> bool {
        self.missing == 0
    }
}

impl fmt::Display for Progress {
    /// ```text
    /// 1 of 2 approvals by `dba`
    /// ```
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = self.quorum.saturating_sub(self.missing);
        let plural = if self.quorum == 1 { "" } else { "s" };
        write!(f, "{given} of {} approval{plural} by {}", self.quorum, self.who)
    }
}

/// How far each rule is met, by what was noted when the votes were counted.
pub(crate) fn progress(rules: &[Rule], votes: &[Vote], is_escalated: bool) -> Vec<Progress> {
    let of = |(place, rule): (usize, &Rule)| {
        let counting = votes.iter().filter(|vote| vote.counts_for.contains(&place));
        // However it came about, a person counts once.
        let people: BTreeMap<String, String> =
            counting.map(|vote| (vote.person.to_lowercase(), vote.label())).collect();
        let given = u32::try_from(people.len()).unwrap_or(u32::MAX);
        Progress {
            who: rule.who(is_escalated),
            quorum: rule.quorum,
            approved_by: people.into_values().collect(),
            missing: rule.quorum.saturating_sub(given),
        }
    };
    rules.iter().enumerate().map(of).collect()
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| time.as_secs()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_secs))
    }
}

#[cfg(test)]
mod tests;
