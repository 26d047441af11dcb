-- Who may do what. Tokens are kept as SHA-256, passwords as argon2id.

-- People. The owner of the center's directory needs no row.
CREATE TABLE users (
    name        TEXT    PRIMARY KEY,
    role        TEXT    NOT NULL CHECK (role IN ('viewer', 'approver', 'admin')),
    password    TEXT,               -- PHC string; null: no login by password
    subject     TEXT    UNIQUE,     -- issuer and id, of a person from an identity provider
    created_at  INTEGER NOT NULL,
    disabled_at INTEGER
) STRICT;

-- The API keys of agents. What an agent asked stays its own with every key of it.
CREATE TABLE agent_keys (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    agent        TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    owner        TEXT    REFERENCES users (name),
    hash         TEXT    NOT NULL UNIQUE,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    replaced_by  INTEGER REFERENCES agent_keys (id),
    last_used_at INTEGER
) STRICT;

CREATE INDEX agent_keys_by_agent ON agent_keys (agent, owner);

-- People's tokens for the command line.
CREATE TABLE user_tokens (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    user         TEXT    NOT NULL REFERENCES users (name),
    name         TEXT    NOT NULL,
    hash         TEXT    NOT NULL UNIQUE,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    revoked_at   INTEGER,
    last_used_at INTEGER
) STRICT;

CREATE INDEX user_tokens_by_user ON user_tokens (user);

-- Sessions in browsers.
CREATE TABLE sessions (
    hash       TEXT    PRIMARY KEY,
    user       TEXT    REFERENCES users (name),  -- null: the owner of the directory
    created_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX sessions_by_user ON sessions (user);

-- The owner of the key with which it was asked: they cannot approve it.
ALTER TABLE actions ADD COLUMN owner TEXT;
