-- Agents as they registered themselves. Their keys, not this, let them ask.
CREATE TABLE registered_agents (
    agent_id      TEXT    PRIMARY KEY,
    about         TEXT    NOT NULL,  -- JSON object, as it came
    registered_by TEXT    NOT NULL,  -- the credential's name
    registered_at INTEGER NOT NULL
) STRICT;

-- The last sign of life of each agent, by the credential that sent it.
CREATE TABLE heartbeats (
    agent_id TEXT    NOT NULL,
    sent_by  TEXT    NOT NULL,
    about    TEXT    NOT NULL,  -- JSON object, as it came
    since    INTEGER NOT NULL,  -- the first of an unbroken row
    last     INTEGER NOT NULL,
    PRIMARY KEY (agent_id, sent_by)
) STRICT;

CREATE TABLE mcp_servers (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT    NOT NULL UNIQUE,
    state         TEXT    NOT NULL CHECK (state IN ('registered', 'active', 'deactivated')),
    about         TEXT    NOT NULL,  -- JSON object, as it came
    reason        TEXT,              -- why it was deactivated
    registered_by TEXT    NOT NULL,
    registered_at INTEGER NOT NULL,
    changed_by    TEXT    NOT NULL,
    changed_at    INTEGER NOT NULL
) STRICT;

-- Which agent has seen which command.
CREATE TABLE acknowledgements (
    command_id TEXT    NOT NULL,
    agent_id   TEXT    NOT NULL,
    sent_by    TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    PRIMARY KEY (command_id, agent_id, sent_by)
) STRICT;
