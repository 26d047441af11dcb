//! Every endpoint, called by everybody.

use ascend_center::Role;
use reqwest::Method;
use serde_json::json;

use crate::{
    house::{Credential, House},
    support::digest,
};

/// Who gets through, as it should be: not read from the center's own table.
#[derive(Clone, Copy, PartialEq)]
enum For {
    Anyone,
    AnyAgent,
    OwnAgent,
    OwnAgentOr(Role),
    AnyAgentOr(Role),
    Person(Role),
    Session,
    /// A session; whoever has none is led to the login.
    Page(Role),
}

use For::{AnyAgent, AnyAgentOr, Anyone, OwnAgent, OwnAgentOr, Page, Person, Session};
use Role::{Admin, Approver, Viewer};

type Endpoint = (Method, &'static str, For);

static ENDPOINTS: [Endpoint; 73] = [
    (Method::GET, "/health", Anyone),
    (Method::GET, "/metrics", Person(Viewer)),
    (Method::POST, "/mcp/governance/evaluate", AnyAgent),
    (Method::GET, "/api/v1/actions", Person(Viewer)),
    (Method::GET, "/api/v1/actions/{id}", OwnAgentOr(Viewer)),
    (Method::GET, "/api/v1/actions/{id}/status", OwnAgentOr(Viewer)),
    (Method::POST, "/api/v1/actions/{id}/claim", OwnAgent),
    (Method::POST, "/api/v1/actions/{id}/withdraw", OwnAgent),
    (Method::POST, "/api/v1/actions/{id}/promise", OwnAgent),
    (Method::POST, "/api/v1/actions/{id}/confirm", OwnAgent),
    (Method::POST, "/api/v1/actions/outcomes", AnyAgent),
    (Method::POST, "/api/v1/actions/evaluations", AnyAgent),
    (Method::POST, "/api/agent-action/{id}/complete", OwnAgent),
    (Method::POST, "/api/agent-action/{id}/fail", OwnAgent),
    (Method::DELETE, "/api/v1/actions/{id}/approve", Person(Approver)),
    (Method::POST, "/api/v1/actions/{id}/approve", Person(Approver)),
    (Method::POST, "/api/v1/actions/{id}/reject", Person(Approver)),
    (Method::GET, "/api/v1/grants", Person(Viewer)),
    (Method::POST, "/api/v1/grants", Person(Approver)),
    (Method::DELETE, "/api/v1/grants/nowhere", Person(Approver)),
    (Method::GET, "/api/sdk/kill-switch/status", AnyAgentOr(Viewer)),
    (Method::POST, "/api/v1/kill-switch", Person(Approver)),
    (Method::DELETE, "/api/v1/kill-switch", Person(Admin)),
    (Method::GET, "/openapi.json", Anyone),
    (Method::GET, "/api/deployment-info", Anyone),
    (Method::GET, "/api/v1/actions/status?ids=1", AnyAgentOr(Viewer)),
    (Method::POST, "/api/v1/actions/submit", AnyAgent),
    (Method::POST, "/api/v1/mcp/actions/submit", AnyAgent),
    (Method::POST, "/api/governance/policies/evaluate-realtime", AnyAgentOr(Viewer)),
    (Method::GET, "/api/sdk/approval/{id}", OwnAgentOr(Viewer)),
    (Method::GET, "/api/agent-activity", AnyAgentOr(Viewer)),
    (Method::GET, "/audit/logs", AnyAgentOr(Viewer)),
    (Method::GET, "/api/v1/events", Person(Viewer)),
    (Method::POST, "/api/registry/agents", AnyAgent),
    (Method::DELETE, "/api/registry/agents/nowhere", AnyAgentOr(Admin)),
    (Method::GET, "/api/registry/agents/nowhere/commands", AnyAgentOr(Viewer)),
    (Method::POST, "/api/registry/agents/nowhere/commands/7/ack", AnyAgent),
    (Method::POST, "/api/agents/health/heartbeat", AnyAgent),
    (Method::GET, "/api/agents/health/nowhere", AnyAgentOr(Viewer)),
    (Method::GET, "/api/registry/mcp-servers", AnyAgentOr(Viewer)),
    (Method::POST, "/api/registry/mcp-servers", AnyAgentOr(Admin)),
    (Method::GET, "/api/registry/mcp-servers/nowhere", AnyAgentOr(Viewer)),
    (Method::POST, "/api/registry/mcp-servers/nowhere/activate", Person(Approver)),
    (Method::POST, "/api/registry/mcp-servers/nowhere/deactivate", Person(Approver)),
    (Method::DELETE, "/api/registry/mcp-servers/nowhere", Person(Admin)),
    (Method::GET, "/api/webhooks", AnyAgentOr(Viewer)),
    (Method::GET, "/api/webhooks/deliveries", AnyAgentOr(Viewer)),
    (Method::POST, "/api/webhooks/configure", AnyAgentOr(Admin)),
    (Method::PUT, "/api/webhooks/nowhere", AnyAgentOr(Admin)),
    (Method::DELETE, "/api/webhooks/nowhere", AnyAgentOr(Admin)),
    (Method::POST, "/api/webhooks/nowhere/test", AnyAgentOr(Admin)),
    (Method::GET, "/api/v1/keys", Person(Admin)),
    (Method::POST, "/api/v1/keys", Person(Admin)),
    (Method::DELETE, "/api/v1/keys/nowhere", Person(Admin)),
    (Method::POST, "/api/v1/keys/nowhere/rotate", Person(Admin)),
    (Method::GET, "/api/v1/users", Person(Admin)),
    (Method::POST, "/api/v1/users", Person(Admin)),
    (Method::PUT, "/api/v1/users/nowhere/role", Person(Admin)),
    (Method::PUT, "/api/v1/users/nowhere/password", Person(Admin)),
    (Method::POST, "/api/v1/users/nowhere/disable", Person(Admin)),
    (Method::POST, "/api/v1/users/nowhere/enable", Person(Admin)),
    (Method::PUT, "/api/v1/users/nowhere/groups/dba", Person(Admin)),
    (Method::DELETE, "/api/v1/users/nowhere/groups/dba", Person(Admin)),
    (Method::GET, "/api/v1/user-tokens", Person(Admin)),
    (Method::POST, "/api/v1/user-tokens", Person(Admin)),
    (Method::DELETE, "/api/v1/user-tokens/nowhere", Person(Admin)),
    (Method::POST, "/api/v1/login", Anyone),
    (Method::GET, "/api/v1/session", Person(Viewer)),
    (Method::GET, "/api/v1/tokens", Session),
    (Method::POST, "/api/v1/tokens", Session),
    (Method::DELETE, "/api/v1/tokens/7", Session),
    (Method::POST, "/api/v1/password", Session),
    // The last: after it there is no session.
    (Method::POST, "/api/v1/logout", Session),
];

/// The page's, but for its stream, which does not end.
#[cfg(feature = "page")]
static PAGES: [Endpoint; 24] = [
    (Method::GET, "/", Page(Viewer)),
    (Method::GET, "/queue", Page(Viewer)),
    (Method::GET, "/queue/cards/{id}", Page(Viewer)),
    (Method::GET, "/actions/{id}", Page(Viewer)),
    (Method::GET, "/actions/{id}/arguments", Page(Viewer)),
    (Method::POST, "/actions/{id}/decide", Page(Approver)),
    (Method::POST, "/actions/{id}/take-back", Page(Approver)),
    (Method::GET, "/history", Page(Viewer)),
    (Method::GET, "/grants", Page(Viewer)),
    (Method::POST, "/grants/7/revoke", Page(Approver)),
    (Method::GET, "/policies", Page(Viewer)),
    (Method::GET, "/audit", Page(Viewer)),
    (Method::POST, "/audit/verify", Page(Viewer)),
    (Method::GET, "/switch", Page(Viewer)),
    (Method::POST, "/switch/raise", Page(Approver)),
    (Method::POST, "/switch/release", Page(Admin)),
    (Method::GET, "/account", Page(Viewer)),
    (Method::POST, "/account/password", Page(Viewer)),
    (Method::POST, "/account/tokens", Page(Viewer)),
    (Method::POST, "/account/tokens/7/revoke", Page(Viewer)),
    (Method::GET, "/login", Anyone),
    (Method::POST, "/login", Anyone),
    (Method::GET, "/assets/nowhere", Anyone),
    // The last: after it there is no session.
    (Method::POST, "/logout", Page(Viewer)),
];

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Caller {
    Nobody,
    Agent,
    OtherAgent,
    LocalAgent,
    Owner,
    Token(Role),
    Session(Role),
    RevokedKey,
    ExpiredKey,
    RevokedToken,
    ExpiredToken,
    DisabledToken,
    DisabledSession,
    ExpiredSession,
    IdleSession,
    UnknownToken,
}

impl Caller {
    /// The status that refuses; `None` where the endpoint is reached.
    fn refusal(self, endpoint: For, one_action: bool) -> Option<u16> {
        let role = match self {
            Self::Owner => Some(Admin),
            Self::Token(role) | Self::Session(role) => Some(role),
            _ => None,
        };
        let by_role = |least: Role| if role >= Some(least) { None } else { Some(403) };
        match (self, endpoint) {
            (
                Self::Nobody | Self::DisabledSession | Self::ExpiredSession | Self::IdleSession,
                Page(_),
            ) => Some(303),
            // A cookie that is over is none.
            (
                Self::Nobody | Self::DisabledSession | Self::ExpiredSession | Self::IdleSession,
                Anyone,
            ) => None,
            (
                Self::Nobody
                | Self::RevokedKey
                | Self::ExpiredKey
                | Self::RevokedToken
                | Self::ExpiredToken
                | Self::DisabledToken
                | Self::DisabledSession
                | Self::ExpiredSession
                | Self::IdleSession
                | Self::UnknownToken,
                _,
            ) => Some(401),
            (_, Anyone) => None,
            (Self::Agent, AnyAgent | OwnAgent | OwnAgentOr(_) | AnyAgentOr(_)) => None,
            (Self::OtherAgent | Self::LocalAgent, OwnAgent | OwnAgentOr(_)) => {
                one_action.then_some(404)
            }
            (Self::OtherAgent | Self::LocalAgent, AnyAgent | AnyAgentOr(_)) => None,
            (Self::Agent | Self::OtherAgent | Self::LocalAgent, Person(_) | Session) => Some(403),
            (_, AnyAgent | OwnAgent) => Some(403),
            (Self::Session(_), Page(least)) => by_role(least),
            (_, Page(_)) => Some(403),
            (_, OwnAgentOr(least) | AnyAgentOr(least) | Person(least)) => by_role(least),
            (Self::Session(_), Session) => None,
            (_, Session) => Some(403),
        }
    }

    async fn credential(self, house: &House) -> Credential {
        let token = Credential::Token;
        let owner = &house.owner;
        match self {
            Self::Nobody => Credential::Nothing,
            Self::UnknownToken => token(format!("ascend_user_{}", "0".repeat(64))),
            Self::Agent => token(house.agent("mine").await),
            Self::OtherAgent => token(house.agent("other").await),
            Self::LocalAgent => {
                let path = house.directory.path();
                token(crate::support::served::token(path, "agent.key"))
            }
            Self::Owner => {
                let path = house.directory.path();
                token(crate::support::served::token(path, "approver.key"))
            }
            Self::Token(role) => token(house.person("carol", role).await),
            Self::Session(role) => {
                house.person("carol", role).await;
                house.session("carol").await
            }
            Self::RevokedKey => {
                let (id, key) = house.key(ascend_center::NewKey::of("mine")).await;
                assert!(house.center.revoke_key(owner, id).await.unwrap());
                token(key)
            }
            Self::ExpiredKey => {
                let key = house.agent("mine").await;
                house.sql("UPDATE agent_keys SET expires_at = 1").await;
                token(key)
            }
            Self::RevokedToken => {
                let revoked = house.person("carol", Admin).await;
                let id = house.center.tokens().await.unwrap()[0].id;
                assert!(house.center.revoke_token(owner, id).await.unwrap());
                token(revoked)
            }
            Self::ExpiredToken => {
                let expired = house.person("carol", Admin).await;
                house.sql("UPDATE user_tokens SET expires_at = 1").await;
                token(expired)
            }
            Self::DisabledToken => {
                let disabled = house.person("carol", Admin).await;
                // The account alone: its tokens would end too.
                house.sql("UPDATE users SET disabled_at = 1").await;
                token(disabled)
            }
            Self::DisabledSession => {
                house.person("carol", Admin).await;
                let session = house.session("carol").await;
                house.sql("UPDATE users SET disabled_at = 1").await;
                session
            }
            Self::ExpiredSession => {
                house.person("carol", Admin).await;
                let session = house.session("carol").await;
                house.sql("UPDATE sessions SET expires_at = 1").await;
                session
            }
            Self::IdleSession => {
                house.person("carol", Admin).await;
                let session = house.session("carol").await;
                house.sql("UPDATE sessions SET seen_at = seen_at - 31 * 60 * 1000").await;
                session
            }
        }
    }
}

const CALLERS: [Caller; 20] = [
    Caller::Nobody,
    Caller::Agent,
    Caller::OtherAgent,
    Caller::LocalAgent,
    Caller::Owner,
    Caller::Token(Viewer),
    Caller::Token(Approver),
    Caller::Token(Admin),
    Caller::Session(Viewer),
    Caller::Session(Approver),
    Caller::Session(Admin),
    Caller::RevokedKey,
    Caller::ExpiredKey,
    Caller::RevokedToken,
    Caller::ExpiredToken,
    Caller::DisabledToken,
    Caller::DisabledSession,
    Caller::ExpiredSession,
    Caller::IdleSession,
    Caller::UnknownToken,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_endpoint_is_for_whom_it_is_for() {
    let mut reached = 0;
    // At a house of their own, so few that nobody is slowed down.
    let parts = ENDPOINTS.chunks(25);
    #[cfg(feature = "page")]
    let parts = parts.chain([&PAGES[..]]);
    for endpoints in parts {
        let callers = CALLERS.map(|caller| tokio::spawn(everything_as(caller, endpoints)));
        for caller in callers {
            reached += caller.await.unwrap();
        }
    }
    println!("{reached} of {} calls got through", ENDPOINTS.len() * CALLERS.len());
}

async fn everything_as(caller: Caller, endpoints: &'static [Endpoint]) -> u32 {
    let house = House::new().await;
    let credential = caller.credential(&house).await;
    // Of the same agent as the caller's, when that is `mine`.
    let asking = house.key(ascend_center::NewKey::of("mine").named("asking")).await.1;
    let mut reached = 0;
    for &(ref method, path, endpoint) in endpoints {
        let one_action = path.contains("{id}");
        let id = house.pending(&asking).await;
        let url = path.replace("{id}", &id.to_string());
        let body = (*method == Method::POST).then(|| json!({ "digest": digest(1) }));
        let (status, answer) = house.send(method.clone(), &url, &credential, body).await;
        let asked = format!("{caller:?}: {method} {path}: {status} {answer}");
        let state = house.center.action(id).await.unwrap().unwrap().state;
        match caller.refusal(endpoint, one_action) {
            Some(expected) => {
                assert_eq!(status.as_u16(), expected, "{asked}");
                assert_eq!(state.as_str(), "pending", "{asked}");
            }
            None => {
                reached += 1;
                // Where nothing is to be found, or the body does not fit, it was
                // the endpoint that said so.
                let told = status.is_success()
                    || status == 303
                    || matches!(status.as_u16(), 409 | 422)
                    || (url.contains("tokens/7") || url.contains("grants/7")) && status == 404
                    || url.contains("/nowhere") && status == 404;
                assert!(told, "{asked}");
            }
        }
    }
    assert_eq!(house.center.kill_switch().await.unwrap(), None);
    // What no table names is nobody's.
    for (method, path, expected) in [
        (Method::GET, "/api/v1/roles", 404),
        (Method::PUT, "/api/v1/actions/1/approve", 405),
        (Method::OPTIONS, "/api/v1/actions", 405),
    ] {
        let (status, _) = house.send(method, path, &credential, None).await;
        assert_eq!(status.as_u16(), expected, "{path}");
    }
    // There are many, and a server of a database has room for so many connections.
    house.center.close().await;
    reached
}
