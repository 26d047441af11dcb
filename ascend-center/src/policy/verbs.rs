//! What verbs do, and the risk that goes with it: ASCEND's table.

/// What a verb does, where the schema does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    Read,
    Write,
    Delete,
    Drop,
    Execute,
    Other,
}

impl Class {
    pub(super) const ALL: [Self; 6] =
        [Self::Read, Self::Write, Self::Delete, Self::Drop, Self::Execute, Self::Other];

    /// The class of `verb`, in lower case.
    pub(super) fn of(verb: &str) -> Self {
        match verb {
            "read" | "query" | "get" | "list" | "search" | "select" | "view" | "describe"
            | "count" | "fetch" | "show" | "explain" | "find" | "lookup" => Self::Read,
            "write" | "insert" | "update" | "upsert" | "create" | "append" | "add" | "post"
            | "put" | "patch" | "set" | "edit" | "move" | "copy" | "rename" | "upload" | "save"
            | "notify" | "send" | "publish" => Self::Write,
            "delete" | "remove" | "purge" | "erase" => Self::Delete,
            "drop" | "truncate" => Self::Drop,
            "execute" | "run" | "exec" | "deploy" | "shell" | "invoke" => Self::Execute,
            _ => Self::Other,
        }
    }

    /// Its name, that of its action in the schema.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Drop => "drop",
            Self::Execute => "execute",
            Self::Other => "other",
        }
    }

    /// The class whose action is named `name`.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }

    /// The risk that no policy has raised yet.
    pub(super) fn risk(self, namespace: &str) -> u8 {
        let file = namespace == "filesystem";
        match self {
            Self::Read if file => 20,
            Self::Read => 15,
            Self::Write if file => 50,
            Self::Write => 40,
            Self::Delete => 70,
            Self::Drop => 100,
            Self::Execute => 80,
            Self::Other => 50,
        }
    }
}
