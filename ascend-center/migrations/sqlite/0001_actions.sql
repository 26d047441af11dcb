-- Times are milliseconds since 1970, UTC.

CREATE TABLE actions (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    state           TEXT    NOT NULL,
    decision        TEXT    NOT NULL,  -- as first answered
    refusal         TEXT,              -- of a denied action, when it is no plain denial
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    server_id       TEXT    NOT NULL,
    tool            TEXT    NOT NULL,
    namespace       TEXT    NOT NULL,
    verb            TEXT    NOT NULL,
    resource        TEXT    NOT NULL,
    summary         TEXT,
    parameters      TEXT    NOT NULL,  -- JSON object, sensitive values masked
    user_context    TEXT    NOT NULL,  -- JSON object
    session_id      TEXT    NOT NULL,
    client          TEXT,
    risk_score      INTEGER NOT NULL,
    risk_level      TEXT    NOT NULL,
    reason          TEXT    NOT NULL,
    matched         TEXT    NOT NULL,  -- JSON list of the policies that matched
    digest          TEXT    NOT NULL,
    idempotency_key TEXT,
    requested_by    TEXT    NOT NULL,  -- the credential's name
    request         TEXT    NOT NULL,  -- JSON, the whole request as it came
    reviewed_by     TEXT,
    comments        TEXT,
    reviewed_at     INTEGER
) STRICT;

CREATE UNIQUE INDEX actions_by_idempotency_key
    ON actions (requested_by, server_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX actions_by_state ON actions (state, id);

-- The record: what happened, in order. Its ids also tell other processes what is new.
CREATE TABLE events (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    action_id INTEGER REFERENCES actions (id),  -- null: it concerns all
    kind      TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    by        TEXT    NOT NULL,
    detail    TEXT
) STRICT;

CREATE INDEX events_by_action ON events (action_id, id);
CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'the record is append-only'); END;
CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'the record is append-only'); END;

-- One row while the kill switch is raised.
CREATE TABLE kill_switch (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    reason    TEXT    NOT NULL,
    raised_at INTEGER NOT NULL,
    raised_by TEXT    NOT NULL
) STRICT;

CREATE TABLE credentials (
    name       TEXT    NOT NULL,
    role       TEXT    NOT NULL CHECK (role IN ('agent', 'approver')),
    hash       TEXT    NOT NULL UNIQUE,  -- SHA-256 of a 256-bit random token
    created_at INTEGER NOT NULL,
    PRIMARY KEY (role, name)
) STRICT;
