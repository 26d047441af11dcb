-- The whole numbers among the arguments, as JSON, for limits that sum.
ALTER TABLE actions ADD COLUMN numbers TEXT;

-- Whether limits count the call: what was allowed or approved, whether or not it ran, and
-- what waits. A column of its own, so that the indexes stay as they are while it runs.
-- Of a process of an earlier version, which runs on, all count.
ALTER TABLE actions ADD COLUMN counted INTEGER NOT NULL DEFAULT 1 CHECK (counted IN (0, 1));
UPDATE actions SET counted = 0 WHERE decision <> 'ALLOW' AND state <> 'pending'
    AND (reviewed_by IS NULL OR state = 'rejected');
CREATE TRIGGER actions_that_count_no_more AFTER UPDATE OF state ON actions
    WHEN NEW.counted = 1 AND NEW.decision <> 'ALLOW' AND NEW.state <> 'pending'
        AND (NEW.reviewed_by IS NULL OR NEW.state = 'rejected')
    BEGIN UPDATE actions SET counted = 0 WHERE id = NEW.id; END;

-- For limits: only calls that count, so that others hold nobody up.
DROP INDEX actions_of_tool;
DROP INDEX actions_on_resource;
CREATE INDEX counted_of_agent ON actions (server_id, created_at) WHERE counted = 1;
CREATE INDEX counted_of_credential ON actions (requested_by, created_at) WHERE counted = 1;
CREATE INDEX counted_of_tool ON actions (server_id, tool, created_at) WHERE counted = 1;
CREATE INDEX counted_on_resource ON actions (resource, created_at) WHERE counted = 1;

-- What waits is found by its id, its expiry or its escalation; of what does not, few are
-- looked for by their state, and those that run or did are not among them.
DROP INDEX actions_by_state;
CREATE INDEX actions_pending ON actions (id) WHERE state = 'pending';
CREATE INDEX actions_by_state ON actions (state, id)
    WHERE state NOT IN ('pending', 'executing', 'completed');

-- When the kill switch was released.
CREATE INDEX audit_releases ON audit (seq) WHERE entry ->> 'kind' = 'released';
