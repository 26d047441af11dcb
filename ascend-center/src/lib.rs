#![doc = include_str!("../README.md")]

#[cfg(feature = "__stages")]
#[doc(hidden)]
#[path = "stages.rs"]
pub mod __stages;
mod audit;
mod center;
mod clock;
mod directory;
mod grants;
#[cfg(feature = "http")]
mod http;
mod identity;
mod life;
#[cfg_attr(not(feature = "http"), expect(dead_code, reason = "only HTTP shows it"))]
mod metrics;
mod policy;
mod quorum;
mod record;
mod replay;
mod shadow;
mod standing;
mod store;
mod submission;
mod time;
mod trace;
#[cfg(feature = "http")]
mod webhook;

pub use audit::{
    Actor, AuditEntry, AuditError, AuditEvent, AuditFormat, AuditKeyError, AuditKind, AuditReport,
    Broken, Checkpoint, EntryHash, Head, NotAHead, NotHex, Pruned, PublicKey, Signature,
    SignedHead, Tampering, VerifyAudit, verify_audit_file,
};
pub use center::{Center, CenterConfig, Changes, Durability, Follow, OpenError};
#[cfg(feature = "http")]
pub use http::{InvalidProxyNetwork, ProxyNetwork, ServeConfig};
#[cfg(feature = "oidc")]
pub use identity::OidcConfig;
pub use identity::{
    AgentKey, Approver, CredentialError, CredentialStanding, IdentityError, InvalidName, Issued,
    NewKey, NotAllowed, PasswordError, Permission, Role, UnknownRole, User, UserToken,
};
pub use life::{ActionState, UnknownState};
pub use policy::{
    CallDescription, Change, ChangeEffect, Counts, Explanation, Finding, Held, Manifest, Match,
    Outcome, Part, Pass, Place, PolicyError, PolicyReview, PolicySet, PolicyStatus, PolicySummary,
    Problem, Recent, Review, RiskSource, TestCases, TestOutcome, ToolReview, ToolSchema,
    check_policies,
};
pub use quorum::{GrantUse, Progress, Rule, Vote};
pub use record::{Effect, Matched, Record};
pub use replay::{ActionExplanation, Difference, Simulation};
pub use store::{
    AuditQuery, Condition, DecideError, Grant, GrantError, GrantStanding, KillSwitch, NewGrant,
    ShadowDecision, ShadowReport, StoreError, SwitchError,
};
pub use time::{moment, span};
