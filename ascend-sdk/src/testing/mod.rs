//! What tests of governed tools need: an authority by script, and a client that
//! calls through the real server, in memory.
//!
//! With the feature `testing`, which belongs among the `dev-dependencies`.
//!
//! ```
//! use ascend_sdk::{
//!     GovernedServer, Governor, Refusal, high_risk_action,
//!     testing::{Answer, Client, Script},
//!     tools,
//! };
//! use serde_json::json;
//!
//! /// Deletes a user.
//! #[high_risk_action(action_type = "user.delete", resource = "users/{name}")]
//! async fn delete_user(name: String) -> Result<String, Refusal> {
//!     Ok(format!("deleted {name}"))
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let script = Script::new(Answer::Hold);
//! let governor = Governor::new(script.clone());
//! let client = Client::of(GovernedServer::new("test", governor).tools(tools![delete_user])).await;
//!
//! let call = client.begin("delete_user", json!({ "name": "ada" })).await;
//! let id = script.waiting(1).await.remove(0);
//! script.approve(&id, "mara@example.com");
//! let called = call.answer().await;
//! assert_eq!(called.text, "deleted ada");
//! assert_eq!(called.governance["reviewed_by"], "mara@example.com");
//! assert_eq!(script.asked()[0].resource, "users/ada");
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Time can be paused (`#[tokio::test(start_paused = true)]`): an approval that
//! takes five minutes then takes none.
//!
//! # The adversarial suite
//!
//! One line for each tool writes a test for every way in which a call must not
//! run, see [`governance_tests!`](macro@governance_tests).

mod client;
mod script;
#[doc(hidden)]
pub mod suite;

pub use client::{Called, Calling, Client};
pub use script::{Answer, Script};

/// Writes tests which show, for one tool, that governance holds.
///
/// ```
/// use ascend_sdk::{Refusal, high_risk_action};
///
/// /// Opens the vault.
/// #[high_risk_action(action_type = "vault.open", resource = "vaults/{vault}")]
/// async fn open_vault(vault: String, #[sensitive] code: String) -> Result<(), Refusal> {
///     Ok(())
/// }
///
/// ascend_sdk::testing::governance_tests!(
///     open_vault,
///     sample = serde_json::json!({ "vault": "north", "code": "hunter2" }),
/// );
/// ```
///
/// `sample` is an expression for arguments that fit the tool. Each test calls the
/// tool through a real server, over MCP, under an authority that does one thing
/// to it: denies it, has a person reject it, lets time run out, lets it expire,
/// decides it for other arguments, raises the kill switch, is not there, fails,
/// talks nonsense; or the client goes away, or calls again. The body is never
/// run: in its place stands one that records its arguments. In each of these it
/// must not have been reached; when a person approves it must have been, once,
/// with the sample's arguments; and no sensitive value may be in anything that
/// left the process. A sensitive value in the sample must be at least four
/// characters long, so that finding it means something.
///
/// The tests are called `open_vault_does_not_run_when_denied`, and so on. Where the SDK
/// goes by another name, `crate = "path"` says so, as for the attributes.
pub use ascend_macros::governance_tests;
