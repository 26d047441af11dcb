//! Governed agent tools.
//!
//! An AI agent calls tools; this crate makes each call *governed*: it is
//! evaluated by an [`Authority`], blocked, or held until a person approves, and
//! only then run, once, with exactly the arguments that were approved, and
//! reported.
//!
//! Three ideas carry it:
//!
//! - A [`Tool`] is an async function with its metadata; the attributes
//!   [`macro@mcp_governance`] and [`macro@high_risk_action`] write one from an ordinary
//!   `async fn`.
//! - An [`Authority`] decides: ASCEND over HTTP ([`authority::Ascend`]), or the
//!   embedded center of the `ascend-center` crate.
//! - A [`Governor`] stands between them. It alone can make the [`Permit`] that a
//!   tool's body consumes, so the body runs at most once per decision.

#![cfg_attr(
    not(feature = "server"),
    allow(dead_code, reason = "routes are made in every build, and called by the server alone")
)]

// The attributes write paths that start with `::ascend_sdk`; this name lets
// them be used inside this crate's own tests as well.
extern crate self as ascend_sdk;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
#[cfg(feature = "__stages")]
#[doc(hidden)]
#[path = "stages.rs"]
pub mod __stages;
mod action;
mod arguments;
pub mod authority;
#[cfg(feature = "classify")]
pub mod classify;
mod context;
mod decision;
mod digest;
mod exact;
mod facts;
mod governor;
mod manifest;
mod observe;
mod output;
mod recent;
mod refusal;
#[cfg(feature = "server")]
mod rmcp_return;
mod room;
mod route;
#[cfg(feature = "server")]
pub mod server;
mod spec;
mod standing;
mod state;
#[cfg(feature = "opentelemetry")]
pub mod telemetry;
mod template;
#[cfg(feature = "testing")]
pub mod testing;
mod tool;
mod trace;

pub use action::{Action, ActionId, InvalidAction, RiskLevel, SessionContext};
pub use arguments::{ArgumentError, Arguments};
#[doc(inline)]
pub use authority::{Authority, AuthorityError};
pub use context::CallContext;
pub use decision::{
    Approval, Claim, ClientAnswer, Confirmation, Decision, Evaluation, Holder, InvalidHolder,
    Outcome, Rejection, Review,
};
#[cfg(feature = "server")]
pub(crate) use digest::Salt;
pub use digest::{Digest, DigestKey, ShortKey, canonical_json};
pub use facts::{Facts, FileFacts, ShellFacts, SqlFacts, Verb};
pub use governor::{FailMode, Governor, GovernorBuilder, Grant};
pub use manifest::Manifest;
pub use output::{Content, ContentBlock, ResourceContents, ToolError, ToolOutput, ToolReturn};
pub use refusal::{Refusal, RefusalKind};
pub use route::{Route, Tools};
#[cfg(feature = "server")]
#[doc(inline)]
pub use server::GovernedServer;
pub use spec::{Floor, Hints, Location, Parameter, ToolSpec};
pub use standing::{Standing, Status};
pub use state::{MissingState, State, StateRequirement};
pub use template::{Segment, Template, is_invisible, shown};
pub use tool::{Permit, Tool, ToolParameter};
pub use trace::{TraceContext, TraceParent};

#[doc = include_str!("../docs/high_risk_action.md")]
pub use ascend_macros::high_risk_action;
#[doc = include_str!("../docs/mcp_governance.md")]
pub use ascend_macros::mcp_governance;
#[doc = include_str!("../docs/ungoverned.md")]
pub use ascend_macros::ungoverned;

/// The longest that any setting can ask to wait: a year. What is longer means "as long
/// as it takes", and no time is to be past the end of a clock.
pub(crate) const LONGEST: std::time::Duration = std::time::Duration::from_secs(366 * 24 * 60 * 60);

/// Futures that an [`Authority`] returns.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
