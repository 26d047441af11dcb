//! What `governance_tests!` runs: each function is one test of one tool.
#![expect(clippy::panic, clippy::expect_used, reason = "tests fail by panicking")]

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use schemars::Schema;
use serde_json::{Map, Value};

use super::{Answer, Called, Client, Script};
use crate::{
    ArgumentError, Arguments, AuthorityError, GovernedServer, Governor, MissingState, Outcome,
    Permit, Refusal, RefusalKind, State, StateRequirement, Tool, ToolSpec, Tools, Verb, tool,
};

/// A tool whose body records its arguments.
struct Probe<T>(T);

/// The arguments of each run.
#[derive(Clone, Default)]
struct Runs(Arc<Mutex<Vec<Value>>>);

impl Runs {
    fn all(&self) -> Vec<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<T: Tool> Arguments for Probe<T> {
    fn schema() -> Schema {
        T::schema()
    }

    fn read(arguments: Map<String, Value>) -> Result<Self, ArgumentError> {
        T::read(arguments).map(Self)
    }

    fn write(&self) -> Result<Value, serde_json::Error> {
        self.0.write()
    }
}

impl<T: Tool> Tool for Probe<T> {
    type State = Runs;
    type Return = Result<(), Refusal>;

    const SPEC: &'static ToolSpec =
        &ToolSpec { state: &[StateRequirement::of::<Runs>()], ..*T::SPEC };

    fn verb(&self) -> Verb {
        self.0.verb()
    }

    fn state(state: &State) -> Result<Runs, MissingState> {
        state.get()
    }

    async fn run(permit: Permit<Self>) -> Self::Return {
        let (Self(arguments), runs, _) = permit.into_parts();
        let arguments = arguments.write().expect("they were written before");
        runs.0.lock().unwrap_or_else(PoisonError::into_inner).push(arguments);
        Ok(())
    }
}

/// A tool under a script, and a client of it.
struct Scene {
    name: &'static str,
    sample: Value,
    script: Script,
    runs: Runs,
    client: Client,
}

impl Scene {
    async fn of<T: Tool>(sample: Value, script: Script, hold: Option<Duration>) -> Self {
        let name = T::SPEC.name;
        let Value::Object(arguments) = &sample else {
            panic!("the sample of `{name}` is no JSON object: write `json!({{ … }})`");
        };
        if let Err(error) = tool::decode::<T>(arguments.clone()) {
            panic!("the sample does not fit: {error}");
        }
        let runs = Runs::default();
        let server = GovernedServer::new("governance-tests", Governor::new(script.clone()))
            .state(runs.clone())
            .tools(Tools::new().with::<Probe<T>>())
            .hold_calls_for(hold);
        Self { name, sample, script, runs, client: Client::of(server).await }
    }

    async fn call(&self) -> Called {
        self.client.call(self.name, self.sample.clone()).await
    }

    /// The call must be refused as `kind`.
    async fn refused(self, kind: RefusalKind) {
        let name = self.name;
        let called = self.call().await;
        self.did_not_run();
        assert!(called.is_error, "a refused call of `{name}` does not look like one: {called:?}");
        assert_eq!(called.governance["refusal"], kind.as_str(), "`{name}`: {called:?}");
        self.client.close().await;
    }

    #[track_caller]
    fn did_not_run(&self) {
        assert!(self.runs.all().is_empty(), "the body of `{}` ran", self.name);
    }

    #[track_caller]
    fn ran_once(&self) {
        let runs = self.runs.all();
        assert_eq!(runs.len(), 1, "the body of `{}` did not run exactly once", self.name);
    }
}

/// With the clock at a stop, so that no wait takes any time.
fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be made")
        .block_on(test);
}

fn refused<T: Tool>(sample: Value, script: Script, kind: RefusalKind) {
    run(async { Scene::of::<T>(sample, script, None).await.refused(kind).await });
}

const MINUTE: Duration = Duration::from_secs(60);

fn approved() -> Answer {
    Answer::Approve { after: MINUTE, by: "mara@example.com".to_owned() }
}

pub fn denied<T: Tool>(sample: Value) {
    let script = Script::new(Answer::Deny { reason: "not on a Friday".to_owned() });
    refused::<T>(sample, script, RefusalKind::Denied);
}

pub fn rejected<T: Tool>(sample: Value) {
    let answer = Answer::Reject { after: MINUTE, reason: "not on a Friday".to_owned() };
    refused::<T>(sample, Script::new(answer), RefusalKind::Rejected);
}

pub fn timed_out<T: Tool>(sample: Value) {
    refused::<T>(sample, Script::new(Answer::Hold), RefusalKind::TimedOut);
}

pub fn expired<T: Tool>(sample: Value) {
    let script = Script::new(Answer::Expire { after: MINUTE });
    refused::<T>(sample.clone(), script, RefusalKind::Expired);
    // And between the approval and the run.
    let script = Script::new(approved()).refusing_claims(RefusalKind::Expired);
    refused::<T>(sample, script, RefusalKind::Expired);
}

pub fn killed<T: Tool>(sample: Value) {
    let script = Script::new(approved()).refusing_claims(RefusalKind::KillSwitch);
    refused::<T>(sample, script, RefusalKind::KillSwitch);
}

pub fn not_answered<T: Tool>(sample: Value) {
    let errors = [
        AuthorityError::Unreachable("no route".to_owned()),
        AuthorityError::Failed("500".to_owned()),
        AuthorityError::RateLimited(None),
        AuthorityError::Unauthorized("401".to_owned()),
        AuthorityError::Malformed("{".to_owned()),
    ];
    for error in errors {
        let kind = error.refusal_kind();
        refused::<T>(sample.clone(), Script::new(Answer::Error(error.clone())), kind);
        let script = Script::new(Answer::Hold).failing_at_review(error.clone());
        refused::<T>(sample.clone(), script, kind);
        refused::<T>(sample.clone(), Script::new(approved()).failing_at_claim(error), kind);
    }
}

/// The floor of a tool that needs a person is above the authority's word.
pub fn not_approved_by_a_person<T: Tool>(sample: Value) {
    if T::SPEC.floor.require_human_approval {
        refused::<T>(sample, Script::new(Answer::Allow), RefusalKind::ApprovalMissing);
    } else {
        run(async {
            let scene = Scene::of::<T>(sample, Script::new(Answer::Allow), None).await;
            scene.call().await;
            scene.ran_once();
            scene.client.close().await;
        });
    }
}

pub fn cancelled<T: Tool>(sample: Value) {
    run(async {
        let scene = Scene::of::<T>(sample, Script::new(Answer::Hold), None).await;
        let call = scene.client.begin(scene.name, scene.sample.clone()).await;
        let id = scene.script.waiting(1).await.remove(0);
        call.cancel().await;
        let outcomes = scene.script.outcomes(1).await;
        assert!(
            matches!(&outcomes[..], [(of, Outcome::Withdrawn { .. })] if *of == id),
            "the cancelled call of `{}` was not withdrawn: {outcomes:?}",
            scene.name
        );
        scene.script.approve(&id, "mara@example.com");
        let Scene { name, runs, client, .. } = scene;
        client.close().await;
        assert!(runs.all().is_empty(), "the body of `{name}` ran after its call was cancelled");
    });
}

/// An approval is for the arguments that were shown.
pub fn tampered<T: Tool>(sample: Value) {
    let other = sample.as_object().and_then(changed::<T>);
    run(async {
        let scene = Scene::of::<T>(sample, Script::new(Answer::Hold), None).await;
        let call = scene.client.begin(scene.name, scene.sample.clone()).await;
        let approved = scene.script.waiting(1).await.remove(0);
        let mut waiting = None;
        // A tool without arguments has none to tamper with.
        if let Some(other) = other {
            waiting = Some(scene.client.begin(scene.name, other.into()).await);
            scene.script.waiting(2).await;
            let asked = scene.script.asked();
            assert_ne!(
                asked[0].digest, asked[1].digest,
                "other arguments of `{}` have the same digest",
                scene.name
            );
        }
        scene.script.approve(&approved, "mara@example.com");
        let called = call.answer().await;
        assert_eq!(called.governance["action_id"], approved.as_str());
        scene.script.outcomes(1).await;
        scene.ran_once();
        if let Some(call) = waiting {
            call.cancel().await;
        }
        let Scene { name, runs, client, .. } = scene;
        client.close().await;
        assert_eq!(runs.all().len(), 1, "`{name}` ran under the approval of another call");
    });
}

/// A call that was answered as pending joins its action, and runs once.
pub fn called_again<T: Tool>(sample: Value) {
    run(async {
        let hold = Some(Duration::from_secs(1));
        let scene = Scene::of::<T>(sample, Script::new(Answer::Hold), hold).await;
        let pending = scene.call().await;
        assert_eq!(pending.governance["status"], "pending", "{pending:?}");
        scene.did_not_run();
        let call = scene.client.begin(scene.name, scene.sample.clone()).await;
        let id = scene.script.waiting(1).await.remove(0);
        assert_eq!(pending.governance["action_id"], id.as_str(), "the call did not join");
        scene.script.approve(&id, "mara@example.com");
        call.answer().await;
        scene.ran_once();
        // The decision is used up.
        let third = scene.call().await;
        assert_eq!(third.governance["status"], "pending", "{third:?}");
        assert_ne!(third.governance["action_id"], id.as_str(), "{third:?}");
        scene.ran_once();
        scene.client.close().await;
    });
}

pub fn approved_arguments<T: Tool>(sample: Value) {
    run(async {
        let scene = Scene::of::<T>(sample, Script::new(approved()), None).await;
        let called = scene.call().await;
        let arguments = scene.sample.as_object().cloned().unwrap_or_default();
        let expected = tool::decode::<T>(arguments).ok().and_then(|it| it.write().ok());
        assert_eq!(Some(scene.runs.all()), expected.map(|expected| vec![expected]));
        assert_eq!(called.governance["reviewed_by"], "mara@example.com", "{called:?}");
        let outcomes = scene.script.outcomes(1).await;
        assert!(matches!(outcomes[..], [(_, Outcome::Completed { .. })]), "{outcomes:?}");
        scene.client.close().await;
    });
}

/// No sensitive value is in anything that the authority or the client gets.
pub fn secrets<T: Tool>(sample: Value) {
    let name = T::SPEC.name;
    let mut secrets = Vec::new();
    for parameter in T::SPEC.parameters.iter().filter(|parameter| parameter.sensitive) {
        let value = sample.get(parameter.name);
        let Some(value) = value else {
            panic!("the sample of `{name}` lacks the sensitive `{}`", parameter.name);
        };
        let before = secrets.len();
        leaves(value, &mut secrets);
        assert!(
            secrets.len() > before,
            "the sample of `{name}` has no text and no number in the sensitive `{}`, so that \
             nobody could tell whether it leaves the process: give it one",
            parameter.name
        );
        assert!(
            secrets.iter().all(|secret| secret.chars().count() >= 4),
            "a value of the sensitive `{}` in the sample of `{name}` is so short that it may stand \
             anywhere by chance: make it at least four characters long",
            parameter.name
        );
    }
    let denied = Answer::Deny { reason: "no".to_owned() };
    for (answer, outcomes) in [(approved(), 1), (denied, 0), (Answer::Hold, 1)] {
        let sample = sample.clone();
        let secrets = &secrets;
        run(async {
            let scene = Scene::of::<T>(sample, Script::new(answer), None).await;
            let called = scene.call().await;
            let asked = scene.script.asked();
            let seen = serde_json::to_string(&asked).expect("actions are JSON");
            let outcomes = scene.script.outcomes(outcomes).await;
            let seen = format!("{seen}\n{asked:?}\n{called:?}\n{outcomes:?}");
            for secret in secrets.iter().flat_map(|secret| forms(secret)) {
                assert!(!seen.contains(&secret), "a sensitive value of `{name}` left the process");
            }
            scene.client.close().await;
        });
    }
}

/// A text as it is, and as JSON and Rust write it.
fn forms(text: &str) -> [String; 3] {
    let inner = |quoted: String| quoted[1..quoted.len() - 1].to_owned();
    let json = serde_json::to_string(text).expect("a text is JSON");
    [text.to_owned(), inner(json), inner(format!("{text:?}"))]
}

/// The texts of the strings and numbers in `value`.
fn leaves(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Number(number) => found.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(entries) => entries.values().for_each(|item| leaves(item, found)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// The same arguments with another value somewhere, that still fit.
fn changed<T: Tool>(sample: &Map<String, Value>) -> Option<Map<String, Value>> {
    let same = |arguments: &Map<String, Value>| {
        tool::decode::<T>(arguments.clone()).ok().and_then(|it| it.write().ok())
    };
    let before = same(sample)?;
    let mut named = Vec::new();
    values(T::schema().as_value(), &mut named);
    sample.iter().find_map(|(name, value)| {
        others(value).into_iter().chain(named.iter().cloned()).find_map(|other| {
            let mut arguments = sample.clone();
            arguments.insert(name.clone(), other);
            same(&arguments).is_some_and(|after| after != before).then_some(arguments)
        })
    })
}

/// The values that a schema names, as those of an enum, wherever they stand.
fn values(schema: &Value, found: &mut Vec<Value>) {
    match schema {
        Value::Array(items) => items.iter().for_each(|item| values(item, found)),
        Value::Object(entries) => {
            if let Some(Value::Array(items)) = entries.get("enum") {
                found.extend(items.iter().cloned());
            }
            found.extend(entries.get("const").cloned());
            entries.values().for_each(|item| values(item, found));
        }
        _ => {}
    }
}

/// Texts of the same form: with one letter or digit exchanged, the last ones first.
fn alike(text: &str) -> Vec<Value> {
    let exchanged = |character: char| match character {
        '0'..='8' => char::from_u32(u32::from(character) + 1),
        '9' => Some('0'),
        'a' => Some('b'),
        'A' => Some('B'),
        'b'..='z' => Some('a'),
        'B'..='Z' => Some('A'),
        _ => None,
    };
    let characters: Vec<char> = text.chars().collect();
    (0..characters.len())
        .rev()
        .filter_map(|at| {
            let mut characters = characters.clone();
            characters[at] = exchanged(characters[at])?;
            Some(characters.into_iter().collect::<String>().into())
        })
        .take(ALIKE)
        .collect()
}

/// How many of them are tried.
const ALIKE: usize = 64;

/// Values of the same kind.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(flag) => vec![(!flag).into()],
        Value::Number(number) => [number.as_i64().map(|it| it.wrapping_add(1).into())]
            .into_iter()
            .flatten()
            .chain(number.as_f64().map(|it| (it + 1.0).into()))
            .chain([0.into(), 1.into()])
            .collect(),
        Value::String(text) => {
            let mut others = vec![format!("{text}x").into(), "x".into(), "".into()];
            others.extend(alike(text));
            others
        }
        Value::Array(items) => {
            let mut changed = Vec::new();
            for (at, item) in items.iter().enumerate() {
                for other in others(item) {
                    let mut items = items.clone();
                    items[at] = other;
                    changed.push(items.into());
                }
            }
            changed.push(Value::Array(Vec::new()));
            changed
        }
        Value::Object(entries) => entries
            .iter()
            .flat_map(|(name, value)| {
                others(value).into_iter().map(|other| {
                    let mut entries = entries.clone();
                    entries.insert(name.clone(), other);
                    Value::Object(entries)
                })
            })
            .collect(),
        Value::Null => Vec::new(),
    }
}
