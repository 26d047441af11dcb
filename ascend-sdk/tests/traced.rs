//! What a trace has of a call's arguments. Alone in its program: what other tests
//! subscribe to would decide here what is traced.

#![cfg(all(feature = "opentelemetry", feature = "testing"))]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use tracing_subscriber::layer::SubscriberExt as _;

use ascend_sdk::{
    Governor, Refusal, mcp_governance,
    testing::{Answer, Script},
};

#[derive(Debug, Clone, Default)]
struct Exported(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Exported {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().expect("no panic holds it").extend(batch);
        Ok(())
    }
}

/// Looks a user up.
#[mcp_governance(action_type = "user.read", resource = "users")]
async fn look_up(
    #[traced] name: String,
    #[traced] limit: Option<u32>,
    #[sensitive] pin: String,
    note: String,
) -> Result<(), Refusal> {
    drop((name, limit, pin, note));
    Ok(())
}

#[tokio::test]
async fn only_a_marked_argument_is_exported_and_no_more_of_it_than_a_trace_takes() {
    let exported = Exported::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exported.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _subscribed = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let governor = Governor::new(Script::new(Answer::Allow));
    let name = format!("a{}", "ä".repeat(200));
    let called = look_up(name, Some(7), "hunter2".to_owned(), "private".to_owned());
    governor.scope(called).await.expect("it is allowed");

    let spans = exported.0.lock().expect("no panic holds it");
    let told: BTreeMap<_, _> = spans
        .iter()
        .flat_map(|span| &span.attributes)
        .filter(|pair| pair.key.as_str().starts_with("ascend.argument."))
        .map(|pair| (pair.key.to_string(), pair.value.to_string()))
        .collect();
    let expected = [
        ("ascend.argument.limit".to_owned(), "7".to_owned()),
        ("ascend.argument.name".to_owned(), format!("a{}…", "ä".repeat(127))),
    ];
    assert_eq!(told, BTreeMap::from(expected));
    let all = format!("{spans:?}");
    assert!(!all.contains("hunter2") && !all.contains("private"), "{all}");
}
