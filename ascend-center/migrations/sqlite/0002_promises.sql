-- 1 while an agent was told that the action waits on and an identical call
-- joins it, and that call has not come back for its end.
ALTER TABLE actions ADD COLUMN promised INTEGER NOT NULL DEFAULT 0 CHECK (promised IN (0, 1));

CREATE INDEX actions_promised ON actions (server_id, digest) WHERE promised = 1;
