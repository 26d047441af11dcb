//! Two governed tools that count how often their bodies run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ascend_sdk::{
    __private::call,
    CallContext, Floor, Governor, Hints, Location, MissingState, Parameter, Permit, Refusal,
    Segment, State, Template, Tool, ToolSpec,
    authority::{Ascend, AscendBuilder},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub const KEY: &str = "owkai_test_key_0123456789";

const fn spec(name: &'static str, verb: &'static str, floor: Floor) -> ToolSpec {
    ToolSpec {
        name,
        title: None,
        description: "Works on a table",
        namespace: "database",
        verb: Some(verb),
        resource: Template(&[Segment::Literal("database://"), Segment::Parameter("table")]),
        summary: Some(Template(&[Segment::Literal("Work on "), Segment::Parameter("table")])),
        floor,
        approval_timeout: None,
        metadata: &[("team", "data")],
        parameters: &[Parameter { name: "table", sensitive: false, traced: false }],
        state: &[],
        hints: Hints { read_only: None, destructive: None, idempotent: None, open_world: None },
        location: Location { file: file!(), line: line!() },
    }
}

macro_rules! counting_tool {
    ($name:ident, $spec:expr) => {
        #[derive(Serialize, Deserialize, JsonSchema)]
        pub struct $name {
            pub table: String,
        }

        impl Tool for $name {
            type State = Arc<AtomicUsize>;
            type Return = Result<String, Refusal>;

            const SPEC: &'static ToolSpec = &$spec;

            fn state(_: &State) -> Result<Self::State, MissingState> {
                Ok(Arc::default())
            }

            async fn run(permit: Permit<Self>) -> Self::Return {
                let (_, runs, context) = permit.into_parts();
                runs.fetch_add(1, Ordering::SeqCst);
                Ok(context.reviewed_by().unwrap_or("nobody").to_owned())
            }
        }
    };
}

counting_tool!(Query, spec("query", "read", Floor::NONE));
counting_tool!(Purge, spec("purge", "delete", Floor::HIGH_RISK));

/// What became of one call: the body's result, and how often it ran.
#[derive(Debug)]
pub struct Called {
    pub result: Result<String, Refusal>,
    pub runs: usize,
}

impl Called {
    /// The refusal of a call that did not run.
    #[track_caller]
    pub fn refused(self) -> Refusal {
        let refusal = self.result.expect_err("the call is refused");
        assert_eq!(self.runs, 0, "refused, and yet it ran: {refusal}");
        refusal
    }

    /// The reviewer that the body saw in its one run.
    #[track_caller]
    pub fn ran(self) -> String {
        let reviewer = self.result.expect("the call runs");
        assert_eq!(self.runs, 1);
        reviewer
    }
}

pub trait Counting: Tool<State = Arc<AtomicUsize>, Return = Result<String, Refusal>> {
    fn on(table: &str) -> Self;
}

impl Counting for Query {
    fn on(table: &str) -> Self {
        Self { table: table.to_owned() }
    }
}

impl Counting for Purge {
    fn on(table: &str) -> Self {
        Self { table: table.to_owned() }
    }
}

/// Calls the tool and waits until the outcome was reported.
pub async fn call_with<T: Counting>(governor: &Governor, arguments: T) -> Called {
    let runs = Arc::new(AtomicUsize::new(0));
    let result = governor.scope(call(arguments, runs.clone(), Some(CallContext::default()))).await;
    Called { result, runs: runs.load(Ordering::SeqCst) }
}

/// Calls the tool once and shuts the governor down, so that all reports are sent.
pub async fn once<T: Counting>(builder: AscendBuilder) -> Called {
    let governor = governor(builder);
    let called = call_with(&governor, T::on("users")).await;
    assert!(governor.close(Duration::from_secs(20)).await, "every report ends");
    called
}

pub fn governor(builder: AscendBuilder) -> Governor {
    Governor::builder(builder.build().unwrap()).server_id("mcp-server-001").build()
}

/// A client of `url` that loses little time between attempts, and has enough of it.
pub fn quick(url: &str) -> AscendBuilder {
    Ascend::builder(KEY.into())
        .base_url(url)
        .backoff(Duration::from_millis(5), Duration::from_millis(20))
        .polling(Duration::from_millis(5), Duration::from_millis(20))
}

/// The same, for servers that never answer.
pub fn impatient(url: &str) -> AscendBuilder {
    quick(url).request_timeout(Duration::from_millis(300)).deadline(Duration::from_secs(2))
}

/// Waits until `condition` holds.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}
