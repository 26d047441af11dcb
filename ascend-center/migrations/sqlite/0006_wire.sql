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

-- Who wants to hear of what.
CREATE TABLE webhooks (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    url        TEXT    NOT NULL,
    events     TEXT    NOT NULL,  -- JSON list
    agent_id   TEXT,
    secret     TEXT    NOT NULL,  -- signs what is sent, so that it cannot be a hash
    of_agent   TEXT,              -- hears of this credential's actions alone; null: of all
    created_by TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    seen       INTEGER NOT NULL   -- the last event that was looked at
) STRICT;

CREATE TABLE webhook_deliveries (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id INTEGER NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event_id   INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    body       TEXT    NOT NULL,  -- as it is sent
    state      TEXT    NOT NULL CHECK (state IN ('queued', 'delivered', 'dead')),
    attempts   INTEGER NOT NULL DEFAULT 0,
    due_at     INTEGER NOT NULL,
    problem    TEXT,              -- of the last attempt
    created_at INTEGER NOT NULL,
    UNIQUE (webhook_id, event_id, kind)
) STRICT;

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due_at) WHERE state = 'queued';
CREATE INDEX webhook_deliveries_delivered ON webhook_deliveries (created_at)
    WHERE state = 'delivered';
