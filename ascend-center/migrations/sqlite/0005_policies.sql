-- What the policies saw of an action beside its row, to explain it and to try
-- other policies on it.
CREATE TABLE policy_inputs (
    action_id INTEGER PRIMARY KEY REFERENCES actions (id),
    input     TEXT NOT NULL  -- JSON: floor, facts, metadata, session, recent
) STRICT;

-- What the shadow policies said of an action. They decide nothing.
CREATE TABLE shadow_decisions (
    action_id  INTEGER PRIMARY KEY REFERENCES actions (id),
    at         INTEGER NOT NULL,
    decision   TEXT    NOT NULL,
    risk_score INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    matched    TEXT    NOT NULL,  -- JSON list
    differs    INTEGER NOT NULL CHECK (differs IN (0, 1))
) STRICT;
CREATE INDEX shadow_differences ON shadow_decisions (action_id) WHERE differs = 1;

-- For limits: the calls of a window, by what is counted over.
CREATE INDEX actions_of_agent ON actions (server_id, created_at);
CREATE INDEX actions_of_tool ON actions (server_id, tool, created_at);
CREATE INDEX actions_on_resource ON actions (resource, created_at);
