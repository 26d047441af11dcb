-- The audit log: docs/audit.md says what stands in it and how it is verified.
-- The record before it, `events`, is taken over when the center opens.

DROP TRIGGER events_are_not_changed;
DROP TRIGGER events_are_not_deleted;
ALTER TABLE events RENAME TO earlier_events;

CREATE TABLE audit (
    seq    INTEGER PRIMARY KEY,
    entry  TEXT    NOT NULL,  -- canonical JSON
    hash   BLOB    NOT NULL,  -- SHA-256 over the hash before and the entry
    action INTEGER GENERATED ALWAYS AS (entry ->> '$.action') VIRTUAL
) STRICT;

CREATE INDEX audit_by_action ON audit (action, seq) WHERE action IS NOT NULL;

-- Where the log ends. One row, changed with every transaction that records.
CREATE TABLE audit_state (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    chain  BLOB    NOT NULL,  -- the hash of the first entry ever
    seq    INTEGER NOT NULL,
    hash   BLOB    NOT NULL,
    signed INTEGER NOT NULL   -- the newest signed head
) STRICT;

CREATE TABLE audit_heads (
    seq       INTEGER PRIMARY KEY,
    head      TEXT    NOT NULL,  -- canonical JSON
    signature BLOB    NOT NULL   -- Ed25519
) STRICT;

-- What stands for the entries that were pruned: one row, once there are any.
CREATE TABLE audit_checkpoint (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    seq        INTEGER NOT NULL,
    checkpoint TEXT    NOT NULL,  -- canonical JSON
    signature  BLOB    NOT NULL   -- Ed25519
) STRICT;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
    WHEN OLD.seq > coalesce((SELECT seq FROM audit_checkpoint), 0)
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- What the caller told of the end; the log has its hash.
ALTER TABLE actions ADD COLUMN outcome TEXT;
UPDATE actions SET outcome = (
    SELECT detail FROM earlier_events
    WHERE action_id = actions.id AND kind IN ('failed', 'withdrawn')
    ORDER BY id DESC LIMIT 1
) WHERE state IN ('failed', 'withdrawn');

-- When the arguments were erased; their digest stays.
ALTER TABLE actions ADD COLUMN erased_at INTEGER;
