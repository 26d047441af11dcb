#![doc = include_str!("../README.md")]

mod center;
mod directory;
#[cfg(feature = "http")]
mod http;
mod identity;
mod life;
mod policy;
mod record;
mod store;
mod submission;

pub use center::{Center, CenterConfig, Changes, OpenError};
#[cfg(feature = "http")]
pub use http::{InvalidProxyNetwork, ProxyNetwork, ServeConfig};
#[cfg(feature = "oidc")]
pub use identity::OidcConfig;
pub use identity::{
    AgentKey, Approver, CredentialError, CredentialStanding, IdentityError, InvalidName, Issued,
    NewKey, NotAllowed, PasswordError, Permission, Role, UnknownRole, User, UserToken,
};
pub use life::{ActionState, UnknownState};
pub use policy::{PolicyError, PolicySummary, Problem, check_policies};
pub use record::{Effect, Matched, Record};
pub use store::{DecideError, KillSwitch, StoreError, SwitchError};
