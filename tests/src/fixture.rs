//! Tools and an authority for tests of the server, with events to wait for
//! instead of time.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ascend_sdk::{
    Action, ActionId, Approval, Authority, AuthorityError, BoxFuture, CallContext, Claim, Content,
    Decision, Digest, Evaluation, Floor, Governor, Hints, Location, MissingState, Outcome, Permit,
    Refusal, Review, RiskLevel, Segment, State, StateRequirement, Template, Tool, ToolSpec, Tools,
    Verb, server::GovernedServer,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// An authority that asks for approval where the floor does, denies the text
/// `deny`, allows the rest, and remembers what it was told.
#[derive(Clone)]
pub struct Script(Arc<Inner>);

struct Inner {
    next: AtomicUsize,
    waiting: watch::Sender<BTreeSet<ActionId>>,
    approved: watch::Sender<BTreeSet<ActionId>>,
    reports: watch::Sender<Vec<String>>,
    actions: watch::Sender<Vec<Action>>,
    /// Whether reports are written to stderr too.
    loud: bool,
    /// How long a report takes to arrive.
    takes: Duration,
}

impl Script {
    /// A script whose reports are also written to stderr if it is `loud`.
    #[must_use]
    pub fn new(loud: bool) -> Self {
        Self::whose_reports_take(Duration::ZERO, loud)
    }

    /// A script that hears a report after so long.
    #[must_use]
    pub fn whose_reports_take(takes: Duration, loud: bool) -> Self {
        Self(Arc::new(Inner {
            next: AtomicUsize::new(1),
            waiting: watch::Sender::default(),
            approved: watch::Sender::default(),
            reports: watch::Sender::default(),
            actions: watch::Sender::default(),
            loud,
            takes,
        }))
    }

    /// Waits until `count` actions wait for a person.
    pub async fn waiting(&self, count: usize) -> Vec<ActionId> {
        let mut waiting = self.0.waiting.subscribe();
        let found = waiting.wait_for(|waiting| waiting.len() >= count).await;
        found.expect("the sender lives in self").iter().cloned().collect()
    }

    /// Approves `id`.
    pub fn approve(&self, id: &ActionId) {
        self.0.approved.send_modify(|approved| {
            approved.insert(id.clone());
        });
    }

    /// Waits until `count` outcomes were reported; each as `act-1 Completed`.
    pub async fn reports(&self, count: usize) -> Vec<String> {
        let mut reports = self.0.reports.subscribe();
        let found = reports.wait_for(|reports| reports.len() >= count).await;
        found.expect("the sender lives in self").clone()
    }

    /// The actions that were evaluated.
    #[must_use]
    pub fn actions(&self) -> Vec<Action> {
        self.0.actions.borrow().clone()
    }
}

impl Authority for Script {
    fn evaluate<'a>(
        &'a self,
        action: &'a Action,
    ) -> BoxFuture<'a, Result<Evaluation, AuthorityError>> {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.0.actions.send_modify(|actions| actions.push(action.clone()));
        let denied = action.parameters.get("text").is_some_and(|text| text == "deny");
        let decision = match action.floor.require_human_approval {
            _ if denied => Decision::Deny,
            true => Decision::RequireApproval,
            false => Decision::Allow,
        };
        let id = ActionId::new(format!("act-{number}")).expect("a sound id");
        Box::pin(async move {
            Ok(Evaluation {
                decision,
                action_id: id,
                risk_score: 20,
                risk_level: RiskLevel::Low,
                reason: denied.then(|| "it says deny".to_owned()),
                refusal: None,
                approval: None,
                estimated_approval_time: None,
                expires_in: None,
                in_client_approval: false,
            })
        })
    }

    fn await_review<'a>(
        &'a self,
        id: &'a ActionId,
    ) -> BoxFuture<'a, Result<Review, AuthorityError>> {
        Box::pin(async move {
            self.0.waiting.send_modify(|waiting| {
                waiting.insert(id.clone());
            });
            let mut approved = self.0.approved.subscribe();
            let found = approved.wait_for(|approved| approved.contains(id)).await;
            drop(found.expect("the sender lives in self"));
            self.0.waiting.send_modify(|waiting| {
                waiting.remove(id);
            });
            let reviewed_by = Some("mara@example.com".to_owned());
            Ok(Review::Approved(Approval { reviewed_by, comments: None }))
        })
    }

    fn claim<'a>(
        &'a self,
        _: &'a ActionId,
        _: &'a Digest,
    ) -> BoxFuture<'a, Result<Claim, AuthorityError>> {
        Box::pin(async { Ok(Claim::Granted) })
    }

    fn report<'a>(
        &'a self,
        id: &'a ActionId,
        outcome: &'a Outcome,
    ) -> BoxFuture<'a, Result<(), AuthorityError>> {
        let outcome = match outcome {
            Outcome::Completed { .. } => "Completed".to_owned(),
            Outcome::Failed { error, .. } => format!("Failed: {error}"),
            Outcome::Withdrawn { reason } => format!("Withdrawn: {reason}"),
            Outcome::Abandoned { reason, .. } => format!("Abandoned: {reason}"),
        };
        Box::pin(async move {
            tokio::time::sleep(self.0.takes).await;
            let line = format!("{id} {outcome}");
            if self.0.loud {
                eprintln!("REPORT {line}");
            }
            self.0.waiting.send_modify(|waiting| {
                waiting.remove(id);
            });
            self.0.reports.send_modify(|reports| reports.push(line));
            Ok(())
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), AuthorityError>> {
        Box::pin(async { Ok(()) })
    }

    fn describe(&self) -> String {
        "a script".to_owned()
    }
}

/// How often each kind of body has begun.
#[derive(Clone, Default)]
pub struct Runs(Arc<AtomicUsize>);

impl Runs {
    /// How often the guarded body has run.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// What a fixture's tools take.
#[derive(Clone)]
pub struct Fixture {
    /// Who decides.
    pub script: Script,
    /// What ran.
    pub runs: Runs,
}

/// A tool by hand, as the attributes would write it.
macro_rules! tool {
    (
        $(#[doc = $description:literal])*
        $name:ident, $floor:expr, $(verb = $verb:expr,)?
        { $($field:ident: $type:ty),* } -> $output:ty,
        |$arguments:ident, $fixture:ident, $context:ident| $body:block
    ) => {
        #[allow(non_camel_case_types, missing_docs, reason = "named as the tool is")]
        #[derive(Debug, Serialize, Deserialize, JsonSchema)]
        pub struct $name { $($field: $type),* }

        impl Tool for $name {
            type State = Fixture;
            type Return = Result<$output, ToolError>;

            const SPEC: &'static ToolSpec = &ToolSpec {
                name: stringify!($name),
                title: None,
                description: concat!($($description),*),
                namespace: "fixture",
                verb: Some("read"),
                resource: Template(&[Segment::Literal("fixture")]),
                summary: None,
                floor: $floor,
                approval_timeout: None,
                metadata: &[],
                parameters: &[],
                state: &[StateRequirement::of::<Fixture>()],
                hints: Hints { read_only: None, destructive: None, idempotent: None, open_world: None },
                location: Location { file: file!(), line: line!() },
            };

            $(fn verb(&self) -> Verb { $verb })?

            fn state(state: &State) -> Result<Fixture, MissingState> {
                state.get()
            }

            async fn run(permit: Permit<Self>) -> Self::Return {
                let ($arguments, $fixture, $context): (Self, Fixture, CallContext) = permit.into_parts();
                let _ = (&$arguments, &$fixture, &$context);
                $body
            }
        }
    };
}

/// The error of the fixture's tools.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It did not run.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It ran and failed.
    #[error("{0}")]
    Failed(String),
}

/// Some text, as a structured result.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Text {
    /// The text.
    pub text: String,
}

tool!(
    #[doc = "Returns the text."]
    echo, Floor::NONE, { text: String } -> Text,
    |arguments, fixture, context| { Ok(Text { text: arguments.text }) }
);

tool!(
    #[doc = "Returns the length of the text."]
    length, Floor::NONE, { text: String } -> usize,
    |arguments, fixture, context| { Ok(arguments.text.len()) }
);

tool!(
    #[doc = "Returns the text, once a person has approved."]
    guarded, Floor::HIGH_RISK, { text: String } -> Text,
    |arguments, fixture, context| {
        fixture.runs.0.fetch_add(1, Ordering::SeqCst);
        Ok(Text { text: arguments.text })
    }
);

tool!(
    #[doc = "Returns text without a schema, once a person has approved."]
    guarded_plain, Floor::HIGH_RISK, { text: String } -> Content,
    |arguments, fixture, context| {
        fixture.runs.0.fetch_add(1, Ordering::SeqCst);
        Ok(Content::text(arguments.text))
    }
);

tool!(
    #[doc = "Reports progress so many times, once a person has approved."]
    guarded_steps, Floor::HIGH_RISK, { count: u32 } -> Text,
    |arguments, fixture, context| {
        for step in 0..arguments.count {
            context.report_progress(f64::from(step), Some(f64::from(arguments.count)), None);
            tokio::task::yield_now().await;
        }
        Ok(Text { text: "done".to_owned() })
    }
);

tool!(
    #[doc = "Approves the next action that waits."]
    approve_next, Floor::NONE, {} -> Text,
    |arguments, fixture, context| {
        let id = fixture.script.waiting(1).await.remove(0);
        fixture.script.approve(&id);
        Ok(Text { text: id.to_string() })
    }
);

tool!(
    #[doc = "Waits until so many actions wait for a person, and approves them."]
    approve_all, Floor::NONE, { count: usize } -> usize,
    |arguments, fixture, context| {
        let waiting = fixture.script.waiting(arguments.count).await;
        waiting.iter().for_each(|id| fixture.script.approve(id));
        Ok(waiting.len())
    }
);

tool!(
    #[doc = "Waits until so many actions wait for a person."]
    await_waiting, Floor::NONE, { count: usize } -> usize,
    |arguments, fixture, context| { Ok(fixture.script.waiting(arguments.count).await.len()) }
);

tool!(
    #[doc = "Waits until so many outcomes were reported, and returns them."]
    reports, Floor::NONE, { count: usize } -> Vec<String>,
    |arguments, fixture, context| { Ok(fixture.script.reports(arguments.count).await) }
);

tool!(
    #[doc = "How often `guarded` ran."]
    runs, Floor::NONE, {} -> usize,
    |arguments, fixture, context| { Ok(fixture.runs.count()) }
);

tool!(
    #[doc = "Fails."]
    fail, Floor::NONE, { text: String } -> Text,
    |arguments, fixture, context| { Err(ToolError::Failed(arguments.text)) }
);

tool!(
    #[doc = "Panics."]
    panics, Floor::NONE, { text: String } -> Text,
    |arguments, fixture, context| { panic!("{}", arguments.text) }
);

tool!(
    #[doc = "Panics before anybody is asked."]
    panics_early, Floor::NONE, verb = panic!("no verb"), {} -> Text,
    |arguments, fixture, context| { Ok(Text { text: "ran".to_owned() }) }
);

tool!(
    #[doc = "Reports progress when it begins, and runs until it is cancelled."]
    linger, Floor::NONE, {} -> Text,
    |arguments, fixture, context| {
        context.report_progress(1.0, None, Some("lingering"));
        context.cancelled().await;
        Ok(Text { text: "cancelled".to_owned() })
    }
);

tool!(
    #[doc = "Runs, once a person has approved, until it is cancelled."]
    guarded_linger, Floor::HIGH_RISK, {} -> Text,
    |arguments, fixture, context| {
        fixture.runs.0.fetch_add(1, Ordering::SeqCst);
        context.report_progress(1.0, None, Some("lingering"));
        context.cancelled().await;
        Ok(Text { text: "stopped half-way".to_owned() })
    }
);

tool!(
    #[doc = "Returns so many bytes, once a person has approved."]
    guarded_big, Floor::HIGH_RISK, { bytes: usize } -> Text,
    |arguments, fixture, context| { Ok(Text { text: "x".repeat(arguments.bytes) }) }
);

tool!(
    #[doc = "Reports progress when it begins, and never ends."]
    stubborn, Floor::NONE, {} -> Text,
    |arguments, fixture, context| {
        context.report_progress(1.0, None, None);
        std::future::pending().await
    }
);

tool!(
    #[doc = "Reports progress so many times."]
    steps, Floor::NONE, { count: u32 } -> Text,
    |arguments, fixture, context| {
        for step in 1..=arguments.count {
            context.report_progress(f64::from(step), Some(f64::from(arguments.count)), None);
            tokio::task::yield_now().await;
        }
        Ok(Text { text: "done".to_owned() })
    }
);

tool!(
    #[doc = "Returns so many bytes."]
    big, Floor::NONE, { bytes: usize } -> Text,
    |arguments, fixture, context| { Ok(Text { text: "x".repeat(arguments.bytes) }) }
);

tool!(
    #[doc = "Returns nothing or a number."]
    perhaps, Floor::NONE, { number: Option<u32> } -> Option<u32>,
    |arguments, fixture, context| { Ok(arguments.number) }
);

tool!(
    #[doc = "Returns an image."]
    image, Floor::NONE, {} -> Content,
    |arguments, fixture, context| {
        Ok(Content::text("a dot").and_image(vec![1, 2, 3], "image/png"))
    }
);

tool!(
    #[doc = "Is never let through."]
    forbidden, Floor::NONE, {} -> Text,
    |arguments, fixture, context| { Ok(Text { text: "ran".to_owned() }) }
);

/// All of the fixture's tools.
#[must_use]
pub fn tools() -> Tools {
    ascend_sdk::tools![
        echo,
        length,
        guarded,
        guarded_plain,
        guarded_steps,
        approve_next,
        approve_all,
        await_waiting,
        reports,
        runs,
        fail,
        panics,
        panics_early,
        linger,
        guarded_linger,
        guarded_big,
        stubborn,
        steps,
        big,
        perhaps,
        image,
        forbidden
    ]
}

/// A server of the fixture's tools under `script`.
pub fn server(script: Script) -> GovernedServer {
    server_under(Governor::new(script.clone()), script)
}

/// A server of the fixture's tools under `governor`, whose tools know `script`.
pub fn server_under(governor: Governor, script: Script) -> GovernedServer {
    server_named("fixture-001", governor, script)
}

/// The same, under another id.
pub fn server_named(server_id: &str, governor: Governor, script: Script) -> GovernedServer {
    let fixture = Fixture { script, runs: Runs::default() };
    GovernedServer::new(server_id, governor)
        .title("Fixture")
        .version("1.2.3")
        .instructions("Use it for tests.")
        .state(fixture)
        .tools(tools())
        .block_tools(["forbidden"])
}
