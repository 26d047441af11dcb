//! Ordinary functions, with all that an attribute takes.
#![deny(warnings, missing_docs, clippy::pedantic, unreachable_pub, unused_qualifications)]

use std::{collections::HashMap, sync::LazyLock};

use ascend_sdk::{
    BoxFuture, CallContext, Content, Governor, Refusal, RiskLevel, high_risk_action,
    mcp_governance, tools,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A number that names an order.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct OrderId(pub u64);

/// What a refund leaves.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Receipt {
    /// How much was paid back.
    pub cents: u32,
}

/// Why there was no refund.
#[derive(Debug, thiserror::Error)]
pub enum RefundError {
    /// The call was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The ledger could not be written.
    #[error("the ledger: {0}")]
    Ledger(#[from] std::fmt::Error),
}

/// A store.
#[derive(Debug, Clone, Default)]
pub struct Ledger(HashMap<u64, u32>);

/// Pays an order back.
///
/// # Errors
///
/// When it is refused, or the ledger cannot be written.
#[allow(clippy::too_many_arguments, reason = "all kinds of parameters")]
#[high_risk_action(
    action_type = "payment.refund",
    resource = "orders://{order}",
    summary = "Pay back {cents} cents of order {order}",
    risk_level = "critical",
    require_human_approval,
    title = "Refund",
    approval_timeout = "1h30m",
    metadata(team = "payments", cost_center = "42"),
    destructive,
    idempotent = false,
    open_world = true
)]
pub async fn refund(
    #[state] ledger: Ledger,
    #[context] context: CallContext,
    /// The order.
    order: OrderId,
    /// How much.
    #[serde(default = "default_cents")]
    #[schemars(range(min = 1, max = 10_000))]
    mut cents: u32,
    #[sensitive] pin: String,
    /// Why.
    #[serde(rename = "why")]
    reason: Option<String>,
    tags: Vec<String>,
    #[allow(unused_variables, reason = "it is tried here")] unused: bool,
) -> Result<Receipt, RefundError> {
    if context.is_cancelled() || pin.is_empty() {
        return Err(std::fmt::Error.into());
    }
    cents = cents.min(ledger.0.get(&order.0).copied().unwrap_or(cents));
    context.report_progress(1.0, None, reason.as_deref().or(tags.first().map(String::as_str)));
    tokio::task::yield_now().await;
    Ok(Receipt { cents })
}

fn default_cents() -> u32 {
    1
}

/// Private, without parameters.
#[mcp_governance(action_type = "clock.read", resource = "clock")]
async fn time() -> Result<u64, Refusal> {
    Ok(0)
}

/// Runs SQL.
#[mcp_governance(
    namespace = "database",
    verb = if sql.starts_with("SELECT") { "read" } else { "write" },
    resource = "database://{database}",
    name = "query.database",
    description = "Runs one statement."
)]
pub(crate) async fn query(sql: String, database: String) -> Result<Content, Refusal> {
    Ok(Content::text(format!("{database}: {sql}")))
}

static GOVERNOR: LazyLock<Governor> = LazyLock::new(|| Governor::new(Never));

/// Bound to a governor, by position.
#[mcp_governance(GOVERNOR, action_type = "file.read", resource = "file://{+path}")]
async fn read(path: String) -> Result<String, String> {
    Ok(path)
}

fn get_governor() -> &'static Governor {
    &GOVERNOR
}

/// Bound to a governor that a call gives.
#[mcp_governance(get_governor(), action_type = "file.list", resource = "file://main")]
async fn list() -> Result<u32, Refusal> {
    Ok(0)
}

/// Bound to a governor, by name.
#[mcp_governance(governor = &*GOVERNOR, action_type = "file.write", resource = "file://{+path}")]
async fn write(path: String, content: serde_json::Value) -> Result<(), Refusal> {
    if content.is_null() {
        // The function's name means the governed one here as well.
        write(path, serde_json::Value::Bool(true)).await?;
    }
    Ok(())
}

/// In a module of its own.
pub mod inner {
    use super::Refusal;

    /// Called like a word that the expansion uses.
    ///
    /// # Errors
    ///
    /// When it is refused.
    #[super::mcp_governance(action_type = "inner.run", resource = "inner://{state}/{self_}")]
    pub async fn run(
        state: String,
        self_: u8,
        permit: i16,
        context: bool,
        serializer: char,
    ) -> Result<String, Refusal> {
        Ok(format!("{state}{self_}{permit}{context}{serializer}"))
    }

    /// A keyword.
    #[super::mcp_governance(action_type = "inner.serialize", resource = "{type}")]
    pub(super) async fn r#impl(r#type: String) -> Result<String, Refusal> {
        Ok(r#type)
    }

    /// Called like what serde calls its own.
    #[super::mcp_governance(action_type = "inner.serialize", resource = "{serialize}")]
    pub(super) async fn serialize(serialize: String) -> Result<String, Refusal> {
        Ok(serialize)
    }
}

/// Defined by a macro.
macro_rules! reader {
    ($name:ident, $parameter:ident: $type:ty, $verb:literal, $resource:expr) => {
        /// Reads.
        #[mcp_governance(namespace = "macro", verb = $verb, resource = $resource)]
        async fn $name($parameter: $type) -> Result<$type, Refusal> {
            Ok($parameter)
        }
    };
}
reader!(read_number, number: u64, "read", "macro");

/// Compiles.
///
/// # Panics
///
/// When something is not as it was written.
pub fn main() {
    let tools = tools![
        refund,
        time,
        query,
        read,
        list,
        write,
        inner::run,
        inner::r#impl,
        inner::serialize,
        read_number
    ];
    let routes = tools.routes();
    let refund = routes[0].spec();
    assert_eq!(refund.floor.risk_level, Some(RiskLevel::Critical));
    assert_eq!(refund.approval_timeout.map(|timeout| timeout.as_secs()), Some(5_400));
    assert_eq!(refund.metadata, [("team", "payments"), ("cost_center", "42")]);
    assert_eq!(refund.description, "Pays an order back.");
    assert_eq!(refund.title, Some("Refund"));
    assert!(refund.is_sensitive("pin") && !refund.is_sensitive("order"));
    assert_eq!(routes[2].spec().name, "query.database");
    assert_eq!(routes[2].spec().description, "Runs one statement.");
    assert_eq!(routes[2].spec().verb, None);
    assert!(routes[2].output_schema().is_none());
    assert_eq!(routes[7].spec().name, "impl");
    assert_eq!(
        (routes[9].spec().verb, routes[9].spec().resource.to_string()),
        (Some("read"), "macro".to_owned())
    );

    let schema = serde_json::Value::Object(routes[0].input_schema());
    assert_eq!(schema["properties"]["order"]["description"], "The order.");
    assert_eq!(schema["properties"]["why"]["description"], "Why.");
    assert_eq!(schema["properties"]["cents"]["maximum"], 10_000);
    assert_eq!(schema["properties"]["cents"]["default"], 1);
    assert_eq!(schema["required"], serde_json::json!(["order", "pin", "tags", "unused"]));
    assert_eq!(schema["additionalProperties"], false);
    assert!(schema["properties"].get("ledger").is_none());
    let schema = serde_json::Value::Object(routes[7].input_schema());
    assert_eq!(schema["required"], serde_json::json!(["type"]));
}

/// Decides nothing.
struct Never;

impl ascend_sdk::Authority for Never {
    fn evaluate<'a>(
        &'a self,
        _: &'a ascend_sdk::Action,
    ) -> BoxFuture<'a, Result<ascend_sdk::Evaluation, ascend_sdk::AuthorityError>> {
        Box::pin(std::future::pending())
    }

    fn await_review<'a>(
        &'a self,
        _: &'a ascend_sdk::ActionId,
    ) -> BoxFuture<'a, Result<ascend_sdk::Review, ascend_sdk::AuthorityError>> {
        Box::pin(std::future::pending())
    }

    fn claim<'a>(
        &'a self,
        _: &'a ascend_sdk::ActionId,
        _: &'a ascend_sdk::Digest,
    ) -> BoxFuture<'a, Result<ascend_sdk::Claim, ascend_sdk::AuthorityError>> {
        Box::pin(std::future::pending())
    }

    fn report<'a>(
        &'a self,
        _: &'a ascend_sdk::ActionId,
        _: &'a ascend_sdk::Outcome,
    ) -> BoxFuture<'a, Result<(), ascend_sdk::AuthorityError>> {
        Box::pin(async { Ok(()) })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), ascend_sdk::AuthorityError>> {
        Box::pin(async { Ok(()) })
    }

    fn describe(&self) -> String {
        "nobody".to_owned()
    }
}
