-- Standing votes of approvers: calls that they need not be asked about again.
CREATE TABLE grants (
    id         BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    granter    TEXT    NOT NULL,
    is_owner   BIGINT NOT NULL CHECK (is_owner IN (0, 1)),  -- of the directory
    tool       TEXT,              -- null: any
    action     TEXT,              -- namespace.verb in lower case; null: any
    resource   TEXT    NOT NULL,  -- a pattern, in which * stands for anything
    agent      TEXT,              -- the credential that asks; null: any
    condition  TEXT,              -- in Cedar
    comment    TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    calls      BIGINT NOT NULL,  -- how many it is for
    used       BIGINT NOT NULL DEFAULT 0 CHECK (used <= calls),
    revoked_at BIGINT,
    revoked_by TEXT
);

CREATE INDEX grants_not_over ON grants (expires_at) WHERE revoked_at IS NULL;
