-- The whole numbers among the arguments, as JSON, for limits that sum.
ALTER TABLE actions ADD COLUMN numbers TEXT;

-- For limits: only calls that may count, so that others hold nobody up.
DROP INDEX actions_of_tool;
DROP INDEX actions_on_resource;
CREATE INDEX counted_of_agent ON actions (server_id, created_at)
    WHERE decision = 'ALLOW' OR (reviewed_by IS NOT NULL AND state <> 'rejected') OR state = 'pending';
CREATE INDEX counted_of_credential ON actions (requested_by, created_at)
    WHERE decision = 'ALLOW' OR (reviewed_by IS NOT NULL AND state <> 'rejected') OR state = 'pending';
CREATE INDEX counted_of_tool ON actions (server_id, tool, created_at)
    WHERE decision = 'ALLOW' OR (reviewed_by IS NOT NULL AND state <> 'rejected') OR state = 'pending';
CREATE INDEX counted_on_resource ON actions USING hash (resource)
    WHERE decision = 'ALLOW' OR (reviewed_by IS NOT NULL AND state <> 'rejected') OR state = 'pending';

-- When the kill switch was released.
CREATE INDEX audit_releases ON audit (seq) WHERE entry ->> 'kind' = 'released';
