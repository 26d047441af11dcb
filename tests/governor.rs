//! The governor: whatever happens, the body runs only under an allowing
//! decision, at most once, and what became of it is reported.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use ascend_sdk::{
    AuthorityError, CallContext, Claim, Decision, Evaluation, FailMode, Floor, Governor, Hints,
    Location, MissingState, Outcome, Parameter, Permit, Refusal, RefusalKind, Rejection, Review,
    Segment, State, Template, Tool, ToolSpec,
};
use ascend_tests::{Scripted, approved, evaluation, rejected};
use proptest::prelude::*;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A tool that counts its runs, as the attributes would write it.
#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Count<const HUMAN: bool> {
    table: String,
    password: String,
}

type Runs = Arc<AtomicU32>;

#[derive(Debug, thiserror::Error)]
enum CountError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("could not log in with {0:?}")]
    Login(String),
}

const fn spec(floor: Floor) -> ToolSpec {
    ToolSpec {
        name: "count",
        title: None,
        description: "Counts its runs.",
        namespace: "database",
        verb: Some("delete"),
        resource: Template(&[Segment::Literal("db://"), Segment::Parameter("table")]),
        summary: Some(Template(&[Segment::Literal("Delete "), Segment::Parameter("table")])),
        floor,
        approval_timeout: None,
        metadata: &[("team", "data")],
        parameters: &[
            Parameter { name: "table", sensitive: false, traced: false },
            Parameter { name: "password", sensitive: true, traced: false },
        ],
        state: &[],
        hints: Hints { read_only: None, destructive: None, idempotent: None, open_world: None },
        location: Location { file: file!(), line: line!() },
    }
}

impl<const HUMAN: bool> Tool for Count<HUMAN> {
    type State = Runs;
    type Return = Result<u32, CountError>;
    const SPEC: &'static ToolSpec =
        if HUMAN { &const { spec(Floor::HIGH_RISK) } } else { &const { spec(Floor::NONE) } };

    fn state(state: &State) -> Result<Runs, MissingState> {
        state.get()
    }

    async fn run(permit: Permit<Self>) -> Self::Return {
        let (arguments, runs, context) = permit.into_parts();
        let run = runs.fetch_add(1, Ordering::SeqCst) + 1;
        match arguments.table.as_str() {
            "fail" => return Err(CountError::Login(arguments.password)),
            "panic" => panic!("as asked"),
            "until cancelled" => context.cancelled().await,
            _ => {}
        }
        Ok(run)
    }
}

const SECRET: &str = "hunter2 \"quoted\"";

struct Bench {
    authority: Scripted,
    governor: Governor,
    runs: Runs,
}

impl Bench {
    fn new(authority: Scripted) -> Self {
        Self::with(authority, FailMode::Closed)
    }

    fn with(authority: Scripted, mode: FailMode) -> Self {
        let governor =
            Governor::builder(authority.clone()).server_id("bench").fail_mode(mode).build();
        Self { authority, governor, runs: Runs::default() }
    }

    /// A direct call, as the attributes' functions make it.
    async fn call<const HUMAN: bool>(&self, table: &str) -> Result<u32, CountError> {
        let arguments = Count::<HUMAN> { table: table.to_owned(), password: SECRET.to_owned() };
        let call = ascend_sdk::__private::call(arguments, self.runs.clone(), None);
        self.governor.scope(call).await
    }

    async fn refusal<const HUMAN: bool>(&self) -> Refusal {
        match self.call::<HUMAN>("t").await {
            Err(CountError::Refused(refusal)) => {
                assert_eq!(self.runs(), 0, "refused means that it did not run");
                refusal
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    fn runs(&self) -> u32 {
        self.runs.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn an_allowed_call_runs_once_and_is_reported() {
    let bench = Bench::new(Scripted::allow());
    assert_eq!(bench.call::<false>("t").await.unwrap(), 1);
    let record = bench.authority.until(|record| record.reported.len() == 1).await;
    let action = &record.evaluated[0];
    assert_eq!(action.server_id, "bench");
    assert_eq!(action.action_type(), "database.delete");
    assert_eq!(action.resource, "db://t");
    assert_eq!(action.summary.as_deref(), Some("Delete `t`"));
    assert_eq!(action.metadata["team"], "data");
    assert_eq!(action.approval_timeout, Duration::from_secs(300));
    assert_eq!(record.claimed, [(record.reported[0].0.clone(), action.digest)]);
    assert!(matches!(record.reported[0].1, Outcome::Completed { .. }));
}

#[tokio::test]
async fn a_denied_call_does_not_run() {
    let bench = Bench::new(Scripted::deny());
    let refusal = bench.refusal::<false>().await;
    assert_eq!(refusal.kind(), RefusalKind::Denied);
    assert_eq!(
        refusal.to_json(),
        serde_json::json!({
            "status": "blocked", "refusal": "denied", "reason": "as scripted",
            "risk_score": 50, "action_id": "1", "decision": "DENY",
        })
    );
    assert!(bench.authority.record().claimed.is_empty());
}

#[tokio::test]
async fn a_pending_call_runs_once_a_person_approved() {
    let bench = Bench::new(Scripted::pending());
    let authority = bench.authority.clone();
    let (result, ()) = tokio::join!(bench.call::<true>("t"), async {
        let record = authority.until(|record| record.awaited.len() == 1).await;
        assert!(record.claimed.is_empty(), "nothing is claimed before the approval");
        authority.review(Ok(approved()));
    });
    assert_eq!(result.unwrap(), 1);
}

#[tokio::test]
async fn a_rejected_call_says_who_and_why() {
    let bench = Bench::new(Scripted::pending());
    bench.authority.review(Ok(rejected()));
    let refusal = bench.refusal::<false>().await;
    assert_eq!(refusal.kind(), RefusalKind::Rejected);
    assert_eq!(refusal.reviewed_by(), Some("bob@example.com"));
    assert_eq!(refusal.to_json()["status"], "rejected");
    assert_eq!(refusal.to_json()["reason"], "not on a Friday");
}

#[tokio::test(start_paused = true)]
async fn nobody_decides_in_time() {
    let bench = Bench::new(Scripted::pending());
    let started = tokio::time::Instant::now();
    let refusal = bench.refusal::<false>().await;
    assert_eq!(refusal.kind(), RefusalKind::TimedOut);
    assert_eq!(refusal.reason(), Some("Approval timeout"));
    assert_eq!(started.elapsed().as_secs(), 300, "the default of ASCEND's example");
    let record = bench.authority.until(|record| record.reported.len() == 1).await;
    assert!(matches!(record.reported[0].1, Outcome::Withdrawn { .. }));
}

#[tokio::test]
async fn a_human_floor_is_not_lowered_by_the_authority() {
    // ALLOW without a person.
    let bench = Bench::new(Scripted::allow());
    assert_eq!(bench.refusal::<true>().await.kind(), RefusalKind::ApprovalMissing);
    let record = bench.authority.until(|record| !record.reported.is_empty()).await;
    assert!(matches!(record.reported[0].1, Outcome::Withdrawn { .. }));
    assert!(record.claimed.is_empty());

    // Passed without a person while it was pending.
    let bench = Bench::new(Scripted::pending());
    bench.authority.review(Ok(Review::AutoApproved));
    assert_eq!(bench.refusal::<true>().await.kind(), RefusalKind::ApprovalMissing);

    // ALLOW that already names a person.
    let Review::Approved(approval) = approved() else { panic!("an approval") };
    let bench = Bench::new(Scripted::always(Ok(Evaluation {
        approval: Some(approval),
        ..evaluation(Decision::Allow)
    })));
    assert_eq!(bench.call::<true>("t").await.unwrap(), 1);
}

fn errors() -> [(AuthorityError, RefusalKind); 6] {
    let text = || "as scripted".to_owned();
    [
        (AuthorityError::Unreachable(text()), RefusalKind::Unreachable),
        (AuthorityError::Failed(text()), RefusalKind::Unreachable),
        (AuthorityError::RateLimited(None), RefusalKind::Unreachable),
        (AuthorityError::Unauthorized(text()), RefusalKind::Unauthorized),
        (AuthorityError::InvalidRequest(text()), RefusalKind::Malformed),
        (AuthorityError::Malformed(text()), RefusalKind::Malformed),
    ]
}

#[tokio::test]
async fn no_answer_means_no_run() {
    for (error, kind) in errors() {
        let bench = Bench::new(Scripted::always(Err(error.clone())));
        assert_eq!(bench.refusal::<false>().await.kind(), kind, "at evaluation: {error}");

        let bench = Bench::new(Scripted::pending());
        bench.authority.review(Err(error.clone()));
        assert_eq!(bench.refusal::<false>().await.kind(), kind, "at the review: {error}");

        let bench = Bench::new(Scripted::allow());
        bench.authority.answer_claims(Err(error.clone()));
        assert_eq!(bench.refusal::<false>().await.kind(), kind, "at the claim: {error}");
    }
}

#[tokio::test]
async fn failing_open_passes_over_unreachability_alone() {
    for (error, kind) in errors() {
        let bench = Bench::with(Scripted::always(Err(error.clone())), FailMode::Open);
        if matches!(error, AuthorityError::Unreachable(_)) {
            assert_eq!(bench.call::<false>("t").await.unwrap(), 1);
        } else {
            assert_eq!(bench.refusal::<false>().await.kind(), kind, "{error}");
        }

        // Never where a person must approve, nor once there is an action.
        let bench = Bench::with(Scripted::always(Err(error.clone())), FailMode::Open);
        assert_eq!(bench.refusal::<true>().await.kind(), kind);
        let bench = Bench::with(Scripted::pending(), FailMode::Open);
        bench.authority.review(Err(error.clone()));
        assert_eq!(bench.refusal::<false>().await.kind(), kind);
        let bench = Bench::with(Scripted::allow(), FailMode::Open);
        bench.authority.answer_claims(Err(error));
        assert_eq!(bench.refusal::<false>().await.kind(), kind);
    }
    let bench = Bench::with(Scripted::deny(), FailMode::Open);
    assert_eq!(bench.refusal::<false>().await.kind(), RefusalKind::Denied);
}

#[tokio::test]
async fn a_refused_claim_means_no_run() {
    for kind in [
        RefusalKind::AlreadyExecuted,
        RefusalKind::Expired,
        RefusalKind::KillSwitch,
        RefusalKind::DigestMismatch,
    ] {
        let bench = Bench::new(Scripted::allow());
        let rejection = Rejection { kind, reason: None, reviewed_by: None };
        bench.authority.answer_claims(Ok(Claim::Refused(rejection)));
        assert_eq!(bench.refusal::<false>().await.kind(), kind);
    }
}

#[tokio::test]
async fn a_decision_that_is_given_twice_is_used_once() {
    let bench = Bench::new(Scripted::allow());
    for _ in 0..2 {
        bench.authority.answer_next(Ok(evaluation(Decision::Allow)));
    }
    assert_eq!(bench.call::<false>("t").await.unwrap(), 1);
    match bench.call::<false>("t").await {
        Err(CountError::Refused(refusal)) => {
            assert_eq!(refusal.kind(), RefusalKind::AlreadyExecuted);
        }
        other => panic!("not refused: {other:?}"),
    }
    assert_eq!(bench.runs(), 1);
}

#[tokio::test]
async fn without_a_governor_nothing_runs() {
    let runs = Runs::default();
    let arguments = Count::<false> { table: "t".to_owned(), password: String::new() };
    let result = ascend_sdk::__private::call(arguments, runs.clone(), None).await;
    assert!(
        matches!(&result, Err(CountError::Refused(refusal)) if refusal.kind() == RefusalKind::NoGovernor)
    );
    assert_eq!(runs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_dropped_wait_is_withdrawn() {
    let bench = Bench::new(Scripted::pending());
    let authority = bench.authority.clone();
    tokio::select! {
        result = bench.call::<false>("t") => panic!("decided by nobody: {result:?}"),
        _ = authority.until(|record| record.awaited.len() == 1) => {}
    }
    authority.review(Ok(approved()));
    let record = authority.until(|record| record.reported.len() == 1).await;
    assert!(matches!(record.reported[0].1, Outcome::Withdrawn { .. }));
    assert!(record.claimed.is_empty());
    assert_eq!(bench.runs(), 0);
}

#[tokio::test]
async fn a_dropped_evaluation_is_withdrawn_once_it_is_answered() {
    let bench = Bench::new(Scripted::pending());
    let hold = Arc::new(Notify::new());
    bench.authority.hold_evaluations(hold.clone());
    let authority = bench.authority.clone();
    tokio::select! {
        result = bench.call::<false>("t") => panic!("decided by nobody: {result:?}"),
        _ = authority.until(|record| record.evaluated.len() == 1) => {}
    }
    assert!(authority.record().reported.is_empty());
    hold.notify_one();
    let record = authority.until(|record| record.reported.len() == 1).await;
    assert!(matches!(record.reported[0].1, Outcome::Withdrawn { .. }));
    assert_eq!(bench.runs(), 0);
}

#[tokio::test]
async fn a_cancelled_wait_is_refused_and_withdrawn() {
    let bench = Bench::new(Scripted::pending());
    let cancellation = CancellationToken::new();
    let context = CallContext::new(ascend_sdk::SessionContext::default(), cancellation.clone());
    let arguments = Count::<false> { table: "t".to_owned(), password: String::new() };
    let call = ascend_sdk::__private::call(arguments, bench.runs.clone(), Some(context));
    let authority = bench.authority.clone();
    let (result, ()) = tokio::join!(bench.governor.scope(call), async {
        authority.until(|record| record.awaited.len() == 1).await;
        cancellation.cancel();
    });
    assert!(
        matches!(&result, Err(CountError::Refused(refusal)) if refusal.kind() == RefusalKind::Cancelled)
    );
    authority.until(|record| matches!(record.reported[..], [(_, Outcome::Withdrawn { .. })])).await;
    assert_eq!(bench.runs(), 0);
}

#[tokio::test]
async fn closing_withdraws_what_waits_and_refuses_what_comes() {
    let bench = Bench::new(Scripted::pending());
    let authority = bench.authority.clone();
    let (result, closed) = tokio::join!(bench.call::<false>("t"), async {
        authority.until(|record| record.awaited.len() == 1).await;
        bench.governor.close(Duration::from_secs(2)).await
    });
    assert!(
        matches!(&result, Err(CountError::Refused(refusal)) if refusal.kind() == RefusalKind::Cancelled)
    );
    assert!(closed);
    authority.until(|record| record.reported.len() == 1).await;
    assert_eq!(bench.refusal::<false>().await.kind(), RefusalKind::Cancelled);
    assert_eq!(authority.record().evaluated.len(), 1, "nothing is asked after the close");
}

#[tokio::test]
async fn a_failure_is_reported_without_the_secret() {
    let bench = Bench::new(Scripted::allow());
    let error = bench.call::<false>("fail").await.unwrap_err();
    assert!(error.to_string().contains("hunter2"), "a direct caller gets its own error");
    let record = bench.authority.until(|record| record.reported.len() == 1).await;
    let Outcome::Failed { error, .. } = &record.reported[0].1 else { panic!("a failure") };
    assert_eq!(error, "could not log in with \"[sensitive]\"");
    assert_eq!(record.evaluated[0].parameters["password"], "[sensitive]");
    assert!(!format!("{:?}", record.evaluated).contains("hunter2"));
}

#[tokio::test]
async fn a_panic_is_reported() {
    let bench = Arc::new(Bench::new(Scripted::allow()));
    let call = tokio::spawn({
        let bench = bench.clone();
        async move { bench.call::<false>("panic").await }
    });
    assert!(call.await.unwrap_err().is_panic());
    let record = bench.authority.until(|record| record.reported.len() == 1).await;
    assert!(
        matches!(&record.reported[0].1, Outcome::Failed { error, .. } if error == "the tool panicked")
    );
}

#[tokio::test]
async fn a_body_that_is_dropped_is_reported() {
    let bench = Bench::new(Scripted::allow());
    let authority = bench.authority.clone();
    let runs = bench.runs.clone();
    tokio::select! {
        result = bench.call::<false>("until cancelled") => panic!("nobody cancelled: {result:?}"),
        () = async {
            while runs.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    let record = authority.until(|record| record.reported.len() == 1).await;
    assert!(
        matches!(&record.reported[0].1, Outcome::Failed { error, .. } if error.contains("dropped"))
    );
}

#[tokio::test]
async fn the_installed_governor_serves_direct_calls() {
    // Not beside `without_a_governor_nothing_runs`: that one needs none in the
    // process, and nextest or not, this one scopes instead of installing.
    static GOVERNOR: LazyLock<Governor> = LazyLock::new(|| Governor::new(Scripted::deny()));
    let governor = ascend_sdk::__private::bound(&GOVERNOR);
    let inner = governor.scope(async { Governor::current().map(|it| it.server_id().to_owned()) });
    assert_eq!(inner.await.as_deref(), Some("ascend-sdk"));
    assert!(Governor::current().is_none());
}

#[derive(Debug, Clone)]
enum Claimed {
    Granted,
    Refused,
    Failed,
}

proptest! {
    /// The promise itself: body runs ⇒ allowed by the stricter of floor and
    /// authority, and claimed; and it runs at most once.
    #[test]
    fn a_run_means_that_all_agreed(
        decision in prop_oneof![
            Just(Decision::Allow), Just(Decision::RequireApproval), Just(Decision::Deny)
        ],
        named in any::<bool>(),
        human in any::<bool>(),
        open in any::<bool>(),
        answers in any::<bool>(),
        review in prop_oneof![Just(Some(approved())), Just(Some(rejected())), Just(Some(Review::AutoApproved)), Just(None)],
        claim in prop_oneof![Just(Claimed::Granted), Just(Claimed::Refused), Just(Claimed::Failed)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let Review::Approved(approval) = approved() else { panic!("an approval") };
            let answer = Evaluation { approval: named.then_some(approval), ..evaluation(decision) };
            let authority = Scripted::always(if answers {
                Ok(answer)
            } else {
                Err(AuthorityError::Unreachable("as scripted".to_owned()))
            });
            if let Some(review) = review.clone() {
                authority.review(Ok(review));
            }
            authority.answer_claims(match claim {
                Claimed::Granted => Ok(Claim::Granted),
                Claimed::Refused => Ok(Claim::Refused(Rejection { kind: RefusalKind::Expired, reason: None, reviewed_by: None })),
                Claimed::Failed => Err(AuthorityError::Failed("as scripted".to_owned())),
            });
            let bench = Bench::with(authority, if open { FailMode::Open } else { FailMode::Closed });
            let result = if human { bench.call::<true>("t").await } else { bench.call::<false>("t").await };

            let person = match decision {
                Decision::Allow => named,
                Decision::RequireApproval => matches!(review, Some(Review::Approved(_))),
                Decision::Deny => false,
            };
            let passed = match decision {
                Decision::Allow => true,
                Decision::RequireApproval => matches!(review, Some(Review::Approved(_) | Review::AutoApproved)),
                Decision::Deny => false,
            };
            let may = if answers {
                passed && (person || !human) && matches!(claim, Claimed::Granted)
            } else {
                open && !human
            };
            prop_assert_eq!(bench.runs(), u32::from(may));
            prop_assert_eq!(result.is_ok(), may);
            Ok(())
        })?;
    }
}
