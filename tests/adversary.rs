//! What a hostile agent, a hostile authority or a careless user may try.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    collections::BTreeMap,
    fmt::Debug,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use ascend_sdk::{
    __private::{self, Argument, call},
    Action, ActionId, Authority, AuthorityError, BoxFuture, Claim, Digest, Evaluation, Floor,
    Governor, Hints, Location, MissingState, Outcome, Parameter, Permit, Refusal, RefusalKind,
    Review, State, Template, Tool, ToolSpec,
};
use ascend_tests::{Scripted, evaluation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A tool with one parameter `value`, that says so in its error.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Say<T, const SENSITIVE: bool> {
    value: T,
}

const fn spec(sensitive: bool) -> ToolSpec {
    let parameters: &[Parameter] = if sensitive {
        &[Parameter { name: "value", sensitive: true, traced: false }]
    } else {
        &[Parameter { name: "value", sensitive: false, traced: false }]
    };
    ToolSpec {
        name: "say",
        title: None,
        description: "Says a value.",
        namespace: "test",
        verb: Some("say"),
        resource: Template(&[]),
        summary: None,
        floor: Floor::NONE,
        approval_timeout: None,
        metadata: &[],
        parameters,
        state: &[],
        hints: Hints { read_only: None, destructive: None, idempotent: None, open_world: None },
        location: Location { file: file!(), line: line!() },
    }
}

trait Value: Serialize + for<'de> Deserialize<'de> + JsonSchema + Debug + Send + 'static {}
impl<T: Serialize + for<'de> Deserialize<'de> + JsonSchema + Debug + Send + 'static> Value for T {}

impl<T: Value, const SENSITIVE: bool> Tool for Say<T, SENSITIVE> {
    type State = Arc<AtomicU32>;
    type Return = Result<(), String>;
    const SPEC: &'static ToolSpec =
        if SENSITIVE { &const { spec(true) } } else { &const { spec(false) } };

    fn state(state: &State) -> Result<Self::State, MissingState> {
        state.get()
    }

    async fn run(permit: Permit<Self>) -> Self::Return {
        let (arguments, runs, _) = permit.into_parts();
        runs.fetch_add(1, Ordering::SeqCst);
        Err(format!("{:?}", arguments.value))
    }
}

/// Calls the tool directly; how often it ran, and what it said.
async fn say<T: Value, const SENSITIVE: bool>(authority: &Scripted, value: T) -> (u32, String) {
    let runs = Arc::new(AtomicU32::new(0));
    let governor = Governor::new(authority.clone());
    let call = call(Say::<T, SENSITIVE> { value }, runs.clone(), None);
    let error = governor.scope(call).await.unwrap_err();
    (runs.load(Ordering::SeqCst), error)
}

#[tokio::test]
async fn a_number_that_json_cannot_say_is_not_shown_as_null() {
    let authority = Scripted::allow();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let (runs, error) = say::<_, false>(&authority, vec![Some(value)]).await;
        assert_eq!(runs, 0, "an approver would have read `null`: {error}");
        assert!(error.contains("not a finite number"), "{error}");
    }
    let (runs, _) = say::<_, false>(&authority, f32::NAN).await;
    assert_eq!(runs, 0);
    let (runs, _) = say::<_, false>(&authority, vec![Some(1.5_f64), None]).await;
    assert_eq!(runs, 1);
    let record = authority.record();
    assert_eq!(record.evaluated.len(), 1, "the others were not even asked about");
    assert_eq!(record.evaluated[0].parameters["value"], serde_json::json!([1.5, null]));
}

/// A list of pairs that is written as a map, whose keys may come twice.
#[derive(Debug, Deserialize, JsonSchema)]
struct Pairs(Vec<(String, u32)>);

impl Serialize for Pairs {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Open {
    to: String,
    #[serde(flatten)]
    rest: BTreeMap<String, String>,
}

#[tokio::test]
async fn a_key_that_comes_twice_does_not_hide_what_came_first() {
    let authority = Scripted::allow();
    let pairs = |second: &str| Pairs(vec![("a".to_owned(), 1), (second.to_owned(), 2)]);
    let (runs, error) = say::<_, false>(&authority, pairs("a")).await;
    assert_eq!(runs, 0, "an approver would have read the second alone: {error}");
    assert!(error.contains("`a` twice"), "{error}");
    let (runs, _) = say::<_, false>(&authority, pairs("b")).await;
    assert_eq!(runs, 1);

    let open = |key: &str| Open {
        to: "mallory".to_owned(),
        rest: [(key.to_owned(), "alice".to_owned())].into(),
    };
    let (runs, _) = say::<_, false>(&authority, open("to")).await;
    assert_eq!(runs, 0);
    let (runs, _) = say::<_, false>(&authority, open("cc")).await;
    assert_eq!(runs, 1);
}

#[test]
fn a_parameter_of_a_method_does_not_hide_another() {
    let merged = |fields: serde_json::Value| {
        __private::arguments([Argument::one("to", "mallory"), Argument::fields(&fields)])
    };
    let error = merged(serde_json::json!({ "to": "alice" })).unwrap_err();
    assert!(error.to_string().contains("`to`"), "{error}");
    let both = merged(serde_json::json!({ "cc": "alice" })).unwrap();
    assert_eq!(both, serde_json::json!({ "to": "mallory", "cc": "alice" }));
}

#[tokio::test]
async fn calls_that_leave_during_their_evaluation_do_not_pile_up() {
    const CALLS: u32 = 20_000;
    let authority = Scripted::allow();
    let hold = Arc::new(tokio::sync::Notify::new());
    authority.hold_evaluations(hold.clone());
    let governor = Governor::new(authority.clone());
    for value in 0..CALLS {
        let runs = Arc::new(AtomicU32::new(0));
        let call = governor.scope(call(Say::<_, false> { value }, runs, None));
        tokio::select! {
            biased;
            result = call => panic!("not held: {result:?}"),
            () = std::future::ready(()) => {}
        }
    }
    authority.until(|record| record.evaluated.len() == CALLS as usize).await;
    let closing = governor.close(Duration::from_secs(30));
    let release = async {
        loop {
            hold.notify_waiters();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        closed = closing => assert!(closed),
        () = release => {}
    }
    let withdrawn = authority.record().reported.len();
    assert_eq!(withdrawn, 16_384, "as many as may be seen to their end");
}

#[tokio::test]
async fn a_sensitive_value_of_many_parts_does_not_stall_the_server() {
    let authority = Scripted::allow();
    let parts: Vec<String> = (0..60_000).map(|part| format!("secret-{part}")).collect();
    let started = Instant::now();
    let (runs, error) = say::<_, true>(&authority, parts).await;
    assert_eq!(runs, 1);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(!error.is_empty());
    let record = authority.until(|record| record.reported.len() == 1).await;
    let Outcome::Failed { error, .. } = &record.reported[0].1 else { panic!("a failure") };
    assert!(!error.contains("secret-1"), "{}", &error[..200]);
}

#[tokio::test]
async fn a_sensitive_value_is_masked_in_whatever_form_it_is_told() {
    let authority = Scripted::allow();
    let value = BTreeMap::from([("a", "hunter2"), ("b", "pass\"word\n"), ("c", "12345")])
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect::<BTreeMap<_, _>>();
    let _ = say::<_, true>(&authority, value).await;
    let _ = say::<_, true>(&authority, (4711_u32, -0.5_f64, true)).await;
    let record = authority.until(|record| record.reported.len() == 2).await;
    for (_, outcome) in &record.reported {
        let Outcome::Failed { error, .. } = outcome else { panic!("a failure") };
        assert!(error.contains("[sensitive]"), "{error}");
        for part in ["hunter2", "word", "12345", "4711", "0.5"] {
            assert!(!error.contains(part), "{part}: {error}");
        }
    }
}

#[tokio::test]
async fn a_long_secret_leaves_short_errors_readable() {
    let runs = Arc::new(AtomicU32::new(0));
    // Its `Debug` form is short, whatever it holds.
    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Document(String);
    impl Debug for Document {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the disk is full")
        }
    }
    let authority = Scripted::allow();
    let arguments = Say::<_, true> { value: Document("x".repeat(1 << 20)) };
    let call = call(arguments, runs, None);
    Governor::new(authority.clone()).scope(call).await.unwrap_err();
    let record = authority.until(|record| record.reported.len() == 1).await;
    let Outcome::Failed { error, .. } = &record.reported[0].1 else { panic!("a failure") };
    assert_eq!(error, "the disk is full");
}

/// An authority whose evaluation panics, and counts how often it is polled.
struct Panicking(Arc<AtomicU32>);

struct Panics(Arc<AtomicU32>);

impl Future for Panics {
    type Output = Result<Evaluation, AuthorityError>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) > 0, "as asked");
        Poll::Ready(Ok(evaluation(ascend_sdk::Decision::Allow)))
    }
}

impl Authority for Panicking {
    fn evaluate<'a>(&'a self, _: &'a Action) -> BoxFuture<'a, Result<Evaluation, AuthorityError>> {
        Box::pin(Panics(self.0.clone()))
    }

    fn await_review<'a>(
        &'a self,
        _: &'a ActionId,
    ) -> BoxFuture<'a, Result<Review, AuthorityError>> {
        Box::pin(async { unreachable!("nothing is pending") })
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
        _: &'a ActionId,
        _: &'a Outcome,
    ) -> BoxFuture<'a, Result<(), AuthorityError>> {
        Box::pin(async { Ok(()) })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), AuthorityError>> {
        Box::pin(async { Ok(()) })
    }

    fn describe(&self) -> String {
        "an authority that panics".to_owned()
    }
}

#[tokio::test]
async fn an_evaluation_that_panicked_is_not_asked_again() {
    let polls = Arc::new(AtomicU32::new(0));
    let runs = Arc::new(AtomicU32::new(0));
    let governor = Governor::new(Panicking(polls.clone()));
    let task = tokio::spawn({
        let (governor, runs) = (governor.clone(), runs.clone());
        async move { governor.scope(call(Say::<_, false> { value: 1 }, runs, None)).await }
    });
    assert!(task.await.unwrap_err().is_panic());
    assert!(governor.close(Duration::from_secs(5)).await);
    assert_eq!(polls.load(Ordering::SeqCst), 1);
    assert_eq!(runs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn large_arguments_and_many_calls_cost_no_more_than_their_size() {
    let authority = Scripted::deny();
    let started = Instant::now();
    let (runs, _) = say::<_, true>(&authority, "/".repeat(16 << 20)).await;
    let (also, _) = say::<_, false>(&authority, "/".repeat(16 << 20)).await;
    assert_eq!((runs, also), (0, 0));
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());

    let authority = Scripted::pending();
    let governor = Governor::new(authority.clone());
    let runs = Arc::new(AtomicU32::new(0));
    let calls: Vec<_> = (0..10_000)
        .map(|value| {
            let (governor, runs) = (governor.clone(), runs.clone());
            tokio::spawn(async move {
                governor.scope(call(Say::<_, false> { value }, runs, None)).await
            })
        })
        .collect();
    authority.until(|record| record.awaited.len() == 10_000).await;
    assert!(governor.close(Duration::from_secs(30)).await);
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert!(error.starts_with(&Refusal::new(RefusalKind::Cancelled).to_string()), "{error}");
    }
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    let record = authority.until(|record| record.reported.len() == 10_000).await;
    assert!(
        record.reported.iter().all(|(_, outcome)| matches!(outcome, Outcome::Withdrawn { .. }))
    );
}
