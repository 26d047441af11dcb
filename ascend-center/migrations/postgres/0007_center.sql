-- What SQLite's migrations 1 to 7 end with. Times are milliseconds since 1970, UTC;
-- a flag is 0 or 1. What the columns mean is said in those.

-- Three things that SQLite has of itself, so that queries are written once.
-- Texts here have no U+0000; JSON has, escaped. They name nothing of this schema,
-- since a backup is restored without it on the search path.
CREATE FUNCTION json_field(document TEXT, field TEXT) RETURNS TEXT
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CAST(replace(document, '\u0000', '\ufffd') AS json) ->> field $$;
CREATE OPERATOR ->> (LEFTARG = TEXT, RIGHTARG = TEXT, FUNCTION = json_field);
CREATE FUNCTION json_object_field(document TEXT, field TEXT) RETURNS json
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CAST(replace(document, '\u0000', '\ufffd') AS json) -> field $$;
CREATE OPERATOR -> (LEFTARG = TEXT, RIGHTARG = TEXT, FUNCTION = json_object_field);
CREATE FUNCTION json_each(list TEXT) RETURNS TABLE (value TEXT)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 100
    AS $$ SELECT json_array_elements_text(CAST(list AS json)) $$;

CREATE TABLE actions (
    id              BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    state           TEXT   NOT NULL,
    decision        TEXT   NOT NULL,
    refusal         TEXT,
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    server_id       TEXT   NOT NULL,
    tool            TEXT   NOT NULL,
    namespace       TEXT   NOT NULL,
    verb            TEXT   NOT NULL,
    resource        TEXT   NOT NULL,
    summary         TEXT,
    parameters      TEXT   NOT NULL,
    user_context    TEXT   NOT NULL,
    session_id      TEXT   NOT NULL,
    client          TEXT,
    risk_score      BIGINT NOT NULL,
    risk_level      TEXT   NOT NULL,
    reason          TEXT   NOT NULL,
    matched         TEXT   NOT NULL,
    digest          TEXT   NOT NULL,
    idempotency_key TEXT,
    requested_by    TEXT   NOT NULL,
    request         TEXT   NOT NULL,
    reviewed_by     TEXT,
    comments        TEXT,
    reviewed_at     BIGINT,
    promised        BIGINT NOT NULL DEFAULT 0 CHECK (promised IN (0, 1)),
    outcome         TEXT,
    erased_at       BIGINT,
    owner           TEXT,
    in_client       BIGINT NOT NULL DEFAULT 0 CHECK (in_client IN (0, 1))
);

CREATE UNIQUE INDEX actions_by_idempotency_key
    ON actions (requested_by, server_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX actions_by_state ON actions (state, id);
CREATE INDEX actions_promised ON actions (server_id, digest) WHERE promised = 1;
CREATE INDEX actions_of_agent ON actions (server_id, created_at);
CREATE INDEX actions_of_tool ON actions (server_id, tool, created_at);
-- Of other kinds an index takes no long texts here, and a resource can be one.
CREATE INDEX actions_on_resource ON actions USING hash (resource);

CREATE TABLE kill_switch (
    id        BIGINT PRIMARY KEY CHECK (id = 1),
    reason    TEXT   NOT NULL,
    raised_at BIGINT NOT NULL,
    raised_by TEXT   NOT NULL
);

CREATE TABLE credentials (
    name       TEXT   NOT NULL,
    role       TEXT   NOT NULL CHECK (role IN ('agent', 'approver')),
    hash       TEXT   NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (role, name)
);

-- Until the log has begun.
CREATE TABLE earlier_events (
    id        BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    action_id BIGINT REFERENCES actions (id),
    kind      TEXT   NOT NULL,
    at        BIGINT NOT NULL,
    by        TEXT   NOT NULL,
    detail    TEXT
);

-- Compared byte by byte, as SQLite does: times are in it.
CREATE TABLE audit (
    seq    BIGINT PRIMARY KEY,
    entry  TEXT   COLLATE "C" NOT NULL,
    hash   BYTEA  NOT NULL,
    action BIGINT GENERATED ALWAYS AS (CAST(entry ->> 'action' AS BIGINT)) STORED
);

CREATE INDEX audit_by_action ON audit (action, seq) WHERE action IS NOT NULL;

CREATE TABLE audit_state (
    id     BIGINT PRIMARY KEY CHECK (id = 1),
    chain  BYTEA  NOT NULL,
    seq    BIGINT NOT NULL,
    hash   BYTEA  NOT NULL,
    signed BIGINT NOT NULL
);

CREATE TABLE audit_heads (
    seq       BIGINT PRIMARY KEY,
    head      TEXT   NOT NULL,
    signature BYTEA  NOT NULL
);

CREATE TABLE audit_checkpoint (
    id         BIGINT PRIMARY KEY CHECK (id = 1),
    seq        BIGINT NOT NULL,
    checkpoint TEXT   NOT NULL,
    signature  BYTEA  NOT NULL
);

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.seq <= coalesce((SELECT seq FROM audit_checkpoint), 0) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only';
END $$;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

CREATE TABLE users (
    name        TEXT   PRIMARY KEY,
    role        TEXT   NOT NULL CHECK (role IN ('viewer', 'approver', 'admin')),
    password    TEXT,
    subject     TEXT   UNIQUE,
    created_at  BIGINT NOT NULL,
    disabled_at BIGINT
);

CREATE TABLE agent_keys (
    id           BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    agent        TEXT   NOT NULL,
    name         TEXT   NOT NULL,
    owner        TEXT   REFERENCES users (name),
    hash         TEXT   NOT NULL UNIQUE,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    revoked_at   BIGINT,
    replaced_by  BIGINT REFERENCES agent_keys (id),
    last_used_at BIGINT
);

CREATE INDEX agent_keys_by_agent ON agent_keys (agent, owner);

CREATE TABLE user_tokens (
    id           BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    "user"       TEXT   NOT NULL REFERENCES users (name),
    name         TEXT   NOT NULL,
    hash         TEXT   NOT NULL UNIQUE,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    revoked_at   BIGINT,
    last_used_at BIGINT
);

CREATE INDEX user_tokens_by_user ON user_tokens ("user");

CREATE TABLE sessions (
    hash       TEXT   PRIMARY KEY,
    "user"     TEXT   REFERENCES users (name),
    created_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE INDEX sessions_by_user ON sessions ("user");

CREATE TABLE policy_inputs (
    action_id BIGINT PRIMARY KEY REFERENCES actions (id),
    input     TEXT   NOT NULL
);

CREATE TABLE shadow_decisions (
    action_id  BIGINT PRIMARY KEY REFERENCES actions (id),
    at         BIGINT NOT NULL,
    decision   TEXT   NOT NULL,
    risk_score BIGINT NOT NULL,
    reason     TEXT   NOT NULL,
    matched    TEXT   NOT NULL,
    differs    BIGINT NOT NULL CHECK (differs IN (0, 1))
);

CREATE INDEX shadow_differences ON shadow_decisions (action_id) WHERE differs = 1;

CREATE TABLE registered_agents (
    agent_id      TEXT   PRIMARY KEY,
    about         TEXT   NOT NULL,
    registered_by TEXT   NOT NULL,
    registered_at BIGINT NOT NULL
);

CREATE TABLE heartbeats (
    agent_id TEXT   NOT NULL,
    sent_by  TEXT   NOT NULL,
    about    TEXT   NOT NULL,
    since    BIGINT NOT NULL,
    last     BIGINT NOT NULL,
    PRIMARY KEY (agent_id, sent_by)
);

CREATE TABLE mcp_servers (
    id            BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name          TEXT   NOT NULL UNIQUE,
    state         TEXT   NOT NULL CHECK (state IN ('registered', 'active', 'deactivated')),
    about         TEXT   NOT NULL,
    reason        TEXT,
    registered_by TEXT   NOT NULL,
    registered_at BIGINT NOT NULL,
    changed_by    TEXT   NOT NULL,
    changed_at    BIGINT NOT NULL
);

CREATE TABLE acknowledgements (
    command_id TEXT   NOT NULL,
    agent_id   TEXT   NOT NULL,
    sent_by    TEXT   NOT NULL,
    at         BIGINT NOT NULL,
    PRIMARY KEY (command_id, agent_id, sent_by)
);

CREATE TABLE webhooks (
    id         BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    url        TEXT   NOT NULL,
    events     TEXT   NOT NULL,
    agent_id   TEXT,
    secret     TEXT   NOT NULL,
    of_agent   TEXT,
    created_by TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    seen       BIGINT NOT NULL
);

CREATE TABLE webhook_deliveries (
    id         BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    webhook_id BIGINT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event_id   BIGINT NOT NULL,
    kind       TEXT   NOT NULL,
    body       TEXT   NOT NULL,
    state      TEXT   NOT NULL CHECK (state IN ('queued', 'delivered', 'dead')),
    attempts   BIGINT NOT NULL DEFAULT 0,
    due_at     BIGINT NOT NULL,
    problem    TEXT,
    created_at BIGINT NOT NULL,
    UNIQUE (webhook_id, event_id, kind)
);

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due_at) WHERE state = 'queued';
CREATE INDEX webhook_deliveries_delivered ON webhook_deliveries (created_at)
    WHERE state = 'delivered';
