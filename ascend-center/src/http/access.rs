//! Who may call which endpoint: the one table. What does not stand here is
//! answered to nobody.

use axum::http::Method;

use super::Problem;
use crate::{Permission, identity::Identity};

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// Everybody; a credential that is sent must be good all the same.
    Anyone,
    /// Agents, with their keys.
    Agent,
    /// People whose role has the permission.
    Person(Permission),
    /// Agents, of their own actions; and people whose role has the permission.
    AgentOr(Permission),
    /// People who logged in in a browser, of whatever role.
    Session,
    /// People who logged in in a browser and whose role has the permission;
    /// whoever did not is led to the login.
    #[cfg(feature = "page")]
    Page(Permission),
}

#[cfg(feature = "page")]
use Caller::Page;
use Caller::{Agent, AgentOr, Anyone, Person, Session};
use Permission::{Administer, Decide, Release, See, Stop};

pub(super) const TABLE: &[(Method, &str, Caller)] = &[
    (Method::GET, "/health", Anyone),
    (Method::GET, "/metrics", Person(See)),
    (Method::POST, "/mcp/governance/evaluate", Agent),
    (Method::GET, "/api/v1/actions", Person(See)),
    (Method::GET, "/api/v1/actions/status", AgentOr(See)),
    (Method::GET, "/api/v1/actions/{id}", AgentOr(See)),
    (Method::GET, "/api/v1/actions/{id}/status", AgentOr(See)),
    (Method::POST, "/api/v1/actions/{id}/claim", Agent),
    (Method::POST, "/api/v1/actions/{id}/withdraw", Agent),
    (Method::POST, "/api/v1/actions/{id}/promise", Agent),
    (Method::POST, "/api/v1/actions/{id}/confirm", Agent),
    (Method::POST, "/api/v1/actions/outcomes", Agent),
    (Method::POST, "/api/v1/actions/evaluations", Agent),
    (Method::POST, "/api/agent-action/{id}/complete", Agent),
    (Method::POST, "/api/agent-action/{id}/fail", Agent),
    (Method::POST, "/api/v1/actions/{id}/approve", Person(Decide)),
    (Method::DELETE, "/api/v1/actions/{id}/approve", Person(Decide)),
    (Method::POST, "/api/v1/actions/{id}/reject", Person(Decide)),
    (Method::GET, "/api/v1/grants", Person(See)),
    (Method::POST, "/api/v1/grants", Person(Decide)),
    (Method::DELETE, "/api/v1/grants/{id}", Person(Stop)),
    (Method::GET, "/api/sdk/kill-switch/status", AgentOr(See)),
    (Method::POST, "/api/v1/kill-switch", Person(Stop)),
    (Method::DELETE, "/api/v1/kill-switch", Person(Release)),
    (Method::POST, "/api/v1/actions/submit", Agent),
    (Method::POST, "/api/v1/mcp/actions/submit", Agent),
    (Method::POST, "/api/governance/policies/evaluate-realtime", AgentOr(See)),
    (Method::GET, "/api/sdk/approval/{id}", AgentOr(See)),
    (Method::GET, "/api/agent-activity", AgentOr(See)),
    (Method::GET, "/audit/logs", AgentOr(See)),
    (Method::GET, "/api/v1/events", Person(See)),
    (Method::POST, "/api/registry/agents", Agent),
    (Method::DELETE, "/api/registry/agents/{agent_id}", AgentOr(Administer)),
    (Method::GET, "/api/registry/agents/{agent_id}/commands", AgentOr(See)),
    (Method::POST, "/api/registry/agents/{agent_id}/commands/{command_id}/ack", Agent),
    (Method::POST, "/api/agents/health/heartbeat", Agent),
    (Method::GET, "/api/agents/health/{agent_id}", AgentOr(See)),
    (Method::POST, "/api/registry/mcp-servers", AgentOr(Administer)),
    (Method::GET, "/api/registry/mcp-servers", AgentOr(See)),
    (Method::GET, "/api/registry/mcp-servers/{server_name}", AgentOr(See)),
    (Method::DELETE, "/api/registry/mcp-servers/{server_name}", Person(Administer)),
    (Method::POST, "/api/registry/mcp-servers/{server_name}/activate", Person(Decide)),
    // Stopping is the safe side here too.
    (Method::POST, "/api/registry/mcp-servers/{server_name}/deactivate", Person(Stop)),
    (Method::GET, "/api/webhooks", AgentOr(See)),
    (Method::POST, "/api/webhooks/configure", AgentOr(Administer)),
    (Method::GET, "/api/webhooks/deliveries", AgentOr(See)),
    (Method::PUT, "/api/webhooks/{webhook_id}", AgentOr(Administer)),
    (Method::DELETE, "/api/webhooks/{webhook_id}", AgentOr(Administer)),
    (Method::POST, "/api/webhooks/{webhook_id}/test", AgentOr(Administer)),
    (Method::GET, "/api/deployment-info", Anyone),
    (Method::GET, "/openapi.json", Anyone),
    (Method::POST, "/api/v1/login", Anyone),
    (Method::GET, "/api/v1/oidc/login", Anyone),
    (Method::GET, "/api/v1/oidc/callback", Anyone),
    (Method::POST, "/api/v1/logout", Session),
    (Method::GET, "/api/v1/session", Person(See)),
    (Method::POST, "/api/v1/password", Session),
    (Method::GET, "/api/v1/tokens", Session),
    (Method::POST, "/api/v1/tokens", Session),
    (Method::DELETE, "/api/v1/tokens/{id}", Session),
    (Method::GET, "/api/v1/keys", Person(Administer)),
    (Method::POST, "/api/v1/keys", Person(Administer)),
    (Method::DELETE, "/api/v1/keys/{id}", Person(Administer)),
    (Method::POST, "/api/v1/keys/{id}/rotate", Person(Administer)),
    (Method::GET, "/api/v1/users", Person(Administer)),
    (Method::POST, "/api/v1/users", Person(Administer)),
    (Method::PUT, "/api/v1/users/{name}/role", Person(Administer)),
    (Method::PUT, "/api/v1/users/{name}/password", Person(Administer)),
    (Method::POST, "/api/v1/users/{name}/disable", Person(Administer)),
    (Method::POST, "/api/v1/users/{name}/enable", Person(Administer)),
    (Method::PUT, "/api/v1/users/{name}/groups/{group}", Person(Administer)),
    (Method::DELETE, "/api/v1/users/{name}/groups/{group}", Person(Administer)),
    (Method::GET, "/api/v1/user-tokens", Person(Administer)),
    (Method::POST, "/api/v1/user-tokens", Person(Administer)),
    (Method::DELETE, "/api/v1/user-tokens/{id}", Person(Administer)),
];

/// The page's endpoints.
#[cfg(feature = "page")]
pub(super) const PAGE: &[(Method, &str, Caller)] = &[
    (Method::GET, "/", Page(See)),
    (Method::GET, "/queue", Page(See)),
    (Method::GET, "/queue/events", Page(See)),
    (Method::GET, "/queue/cards/{id}", Page(See)),
    (Method::GET, "/actions/{id}", Page(See)),
    (Method::GET, "/actions/{id}/arguments", Page(See)),
    (Method::POST, "/actions/{id}/decide", Page(Decide)),
    (Method::POST, "/actions/{id}/take-back", Page(Decide)),
    (Method::GET, "/history", Page(See)),
    (Method::GET, "/grants", Page(See)),
    (Method::POST, "/grants/{id}/revoke", Page(Stop)),
    (Method::GET, "/policies", Page(See)),
    (Method::GET, "/audit", Page(See)),
    (Method::POST, "/audit/verify", Page(See)),
    (Method::GET, "/switch", Page(See)),
    (Method::POST, "/switch/raise", Page(Stop)),
    (Method::POST, "/switch/release", Page(Release)),
    (Method::GET, "/account", Page(See)),
    (Method::POST, "/account/password", Page(See)),
    (Method::POST, "/account/tokens", Page(See)),
    (Method::POST, "/account/tokens/{id}/revoke", Page(See)),
    (Method::POST, "/logout", Page(See)),
    (Method::GET, "/login", Anyone),
    (Method::POST, "/login", Anyone),
    (Method::GET, "/assets/{file}", Anyone),
];
#[cfg(not(feature = "page"))]
const PAGE: &[(Method, &str, Caller)] = &[];

/// Who may call an endpoint of the router.
pub(super) fn rule(method: &Method, path: &str) -> Result<Caller, Problem> {
    // A GET is answered to HEAD too.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let mut known = false;
    for (candidate, endpoint, caller) in TABLE.iter().chain(PAGE) {
        if *endpoint == path {
            known = true;
            if candidate == method {
                return Ok(*caller);
            }
        }
    }
    if known {
        Err(Problem::method_not_allowed())
    } else {
        Err(Problem::internal(format!(
            "the endpoint {path} is not in the table of who may call it"
        )))
    }
}

impl Caller {
    /// Whether `identity` is one of them; `by_session` when it came by a session.
    pub(super) fn check(self, identity: &Identity, by_session: bool) -> Result<(), Problem> {
        match (self, identity) {
            (Anyone, _) | (Agent | AgentOr(_), Identity::Agent(_)) => Ok(()),
            (Person(needs) | AgentOr(needs), Identity::Person(person)) => Ok(person.allow(needs)?),
            (Session, Identity::Person(_)) if by_session => Ok(()),
            #[cfg(feature = "page")]
            (Page(needs), Identity::Person(person)) if by_session => Ok(person.allow(needs)?),
            #[cfg(feature = "page")]
            (Page(_), _) => Err(Problem::forbidden("this takes a login in a browser, not a token")),
            (Session, Identity::Person(_)) => {
                Err(Problem::forbidden("this takes a login in a browser, not a token"))
            }
            (Agent, Identity::Person(_)) => Err(Problem::forbidden(
                "an approver's credential cannot act for an agent; use the agent's API key",
            )),
            (Person(_) | Session, Identity::Agent(_)) => {
                Err(Problem::forbidden("an agent's key can neither approve nor reject"))
            }
        }
    }
}
