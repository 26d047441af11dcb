-- Standing votes of approvers: calls that they need not be asked about again.
CREATE TABLE grants (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    granter    TEXT    NOT NULL,
    is_owner   INTEGER NOT NULL CHECK (is_owner IN (0, 1)),  -- of the directory
    tool       TEXT,              -- null: any
    action     TEXT,              -- namespace.verb in lower case; null: any
    resource   TEXT    NOT NULL,  -- a pattern, in which * stands for anything
    agent      TEXT,              -- the credential that asks; null: any
    condition  TEXT,              -- in Cedar
    comment    TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    calls      INTEGER NOT NULL,  -- how many it is for
    used       INTEGER NOT NULL DEFAULT 0 CHECK (used <= calls),
    revoked_at INTEGER,
    revoked_by TEXT
) STRICT;

CREATE INDEX grants_not_over ON grants (expires_at) WHERE revoked_at IS NULL;
