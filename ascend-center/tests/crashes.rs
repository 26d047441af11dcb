//! Centers that are killed at any moment, two at a time over one directory:
//! what was answered stands, nothing is granted twice, and the log verifies.
//!
//! The printed seed makes the next run do the same work and wait the same
//! times: `ASCEND_CRASH_SEED=7 ASCEND_CRASH_ROUNDS=500 cargo test --test crashes`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{collections::BTreeMap, path::Path, str::FromStr, time::Duration};

use ascend_center::{ActionState, AuditKind, AuditQuery, Center, SignedHead, VerifyAudit};
use serde_json::{Value, json};
use support::{
    digest, open,
    served::{Served, token},
};

/// Rounds with two servers each.
const ROUNDS: usize = 100;
/// How often all is proved, and not only the last answers.
const PROVE_EVERY: usize = 10;
const CLIENTS: usize = 6;

/// Numbers that look random and follow from the seed alone (SplitMix64).
#[derive(Clone, Copy)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// What a client was told of an action, and what it asked without an answer.
#[derive(Debug, Clone, Copy)]
struct Known {
    state: ActionState,
    asked: Option<ActionState>,
    granted: usize,
}

type Answers = BTreeMap<i64, Known>;

#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    url: String,
    agent: String,
    approver: String,
}

impl Client {
    /// The answer; `None` when the server was gone before all of it was there.
    async fn post(&self, token: &str, path: &str, body: &Value) -> Option<Value> {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(token);
        let answer = request.json(body).send().await.ok()?;
        let is_success = answer.status().is_success();
        let answer: Value = answer.json().await.ok()?;
        assert!(is_success, "{path}: {answer}");
        Some(answer)
    }

    async fn evaluate(&self, verb: &str, key: &str) -> Option<(i64, ActionState)> {
        let body = json!({
            "server_id": "srv", "namespace": "database", "verb": verb, "resource": "x",
            "digest": digest(1), "idempotency_key": key, "approval_timeout_seconds": 86_400,
        });
        let answer = self.post(&self.agent, "/mcp/governance/evaluate", &body).await?;
        Some((answer["action_id"].as_i64().unwrap(), state(&answer)))
    }

    async fn claim(&self, id: i64) -> Option<bool> {
        let body = json!({ "digest": digest(1) });
        let path = format!("/api/v1/actions/{id}/claim");
        let answer = self.post(&self.agent, &path, &body).await?;
        let is_granted = answer["granted"].as_bool().unwrap();
        assert!(is_granted || answer["refusal"] == "already_executed", "{id}: {answer}");
        Some(is_granted)
    }

    /// Works until the server is gone.
    async fn work(self, mut dice: Dice, name: String) -> Answers {
        let mut answers = Answers::new();
        for index in 0.. {
            let verb = if dice.roll(2) == 0 { "read" } else { "delete" };
            let key = format!("{name}-{index}");
            let Some((id, state)) = self.evaluate(verb, &key).await else { break };
            let is_new = answers.insert(id, Known { state, asked: None, granted: 0 }).is_none();
            assert!(is_new, "action {id} was opened twice");
            let known = answers.get_mut(&id).unwrap();
            if self.finish(&mut dice, id, &key, verb, known).await.is_none() {
                break;
            }
        }
        answers
    }

    async fn finish(
        &self,
        dice: &mut Dice,
        id: i64,
        key: &str,
        verb: &str,
        known: &mut Known,
    ) -> Option<()> {
        if dice.roll(4) == 0 {
            // A request that is sent again is the same one.
            assert_eq!(self.evaluate(verb, key).await?.0, id);
        }
        if known.state == ActionState::Pending {
            let (path, decided) = match dice.roll(3) {
                0 => return Some(()),
                1 => ("reject", ActionState::Rejected),
                _ => ("approve", ActionState::Approved),
            };
            known.asked = Some(decided);
            let path = format!("/api/v1/actions/{id}/{path}");
            let answer = self.post(&self.approver, &path, &json!({ "comment": "seen" })).await?;
            known.state = state(&answer);
            known.asked = None;
            assert_eq!(known.state, decided);
            if decided == ActionState::Rejected {
                return Some(());
            }
        }
        known.asked = Some(ActionState::Executing);
        let is_granted = self.claim(id).await?;
        assert!(is_granted, "the first claim of {id}");
        *known = Known { state: ActionState::Executing, asked: None, granted: 1 };
        if dice.roll(2) == 0 {
            assert!(!self.claim(id).await?, "action {id} was granted twice");
        }
        if dice.roll(2) == 0 {
            known.asked = Some(ActionState::Completed);
            let path = format!("/api/agent-action/{id}/complete");
            let answer = self.post(&self.agent, &path, &json!({ "duration_ms": 1 })).await?;
            *known = Known { state: state(&answer), asked: None, ..*known };
        }
        Some(())
    }
}

fn state(answer: &Value) -> ActionState {
    ActionState::from_str(answer["state"].as_str().unwrap()).unwrap()
}

/// What was answered stands, and what was not either happened or did not.
fn settle(id: i64, known: &mut Known, state: ActionState) {
    let happened = known.asked == Some(state);
    assert!(state == known.state || happened, "action {id} is {state}: {known:?}");
    known.state = state;
    known.asked = None;
}

/// Asks the restarted servers for the last answers, and claims what is left.
async fn look_again(client: &Client, answers: &mut Answers) {
    for (id, known) in answers {
        let url = format!("{}/api/v1/actions/{id}", client.url);
        let request = client.http.get(url).bearer_auth(&client.approver);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        settle(*id, known, state(&answer));
        let may_run = matches!(known.state, ActionState::Allowed | ActionState::Approved);
        let has_run = matches!(known.state, ActionState::Executing | ActionState::Completed);
        if may_run || has_run {
            let is_granted = client.claim(*id).await.unwrap();
            assert_eq!(is_granted, may_run, "the claim of action {id}: {known:?}");
            if is_granted {
                known.state = ActionState::Executing;
                known.granted += 1;
            }
        }
        assert!(known.granted <= 1, "action {id} was granted twice");
    }
}

/// With nobody else there: the log verifies, goes on from the head that was
/// kept before, and tells what was answered.
async fn prove(directory: &Path, answers: &mut Answers, head: &mut Option<SignedHead>) -> i64 {
    let center: Center = open(directory).await;
    let what = head.take().into_iter().fold(VerifyAudit::new(), VerifyAudit::head);
    let report = center.verify_audit(&what).await.unwrap();
    *head = Some(center.audit_head().await.unwrap());
    let claims = AuditQuery::new().kind(AuditKind::Claimed).limit(u32::MAX);
    let mut claimed = BTreeMap::<i64, usize>::new();
    for (entry, _) in center.audit_entries(&claims).await.unwrap() {
        *claimed.entry(entry.event.action.unwrap()).or_default() += 1;
    }
    assert!(claimed.values().all(|count| *count == 1), "an action was claimed twice");
    for (id, known) in answers {
        let record = center.action(*id).await.unwrap().unwrap();
        settle(*id, known, record.state);
        assert!(known.granted <= claimed.get(id).copied().unwrap_or_default(), "action {id}");
    }
    center.close().await;
    report.to
}

fn from_environment<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_answered_stands_after_any_kill() {
    let directory = tempfile::tempdir().unwrap();
    kill_at_any_moment(directory.path(), ROUNDS).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_answered_stands_after_any_kill_over_postgresql() {
    let directory = tempfile::tempdir().unwrap();
    support::postgres::choose(directory.path());
    kill_at_any_moment(directory.path(), ROUNDS / 4).await;
}

async fn kill_at_any_moment(directory: &Path, rounds: usize) {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = from_environment("ASCEND_CRASH_SEED").unwrap_or(u64::from(clock.subsec_nanos()));
    let rounds = from_environment("ASCEND_CRASH_ROUNDS").unwrap_or(rounds);
    println!("ASCEND_CRASH_SEED={seed} ASCEND_CRASH_ROUNDS={rounds}");

    let mut dice = Dice(seed);
    let (mut answers, mut last) = (Answers::new(), Answers::new());
    let (mut kills, mut entries, mut head) = (0, 0, None);
    for round in 0..rounds {
        let starting = [Served::starting(directory), Served::starting(directory)];
        let mut servers = starting.map(|started| started());
        // New connections: those of the last round are dead.
        let http = reqwest::Client::new();
        let client = |server: &Served| Client {
            http: http.clone(),
            url: server.url.clone(),
            agent: token(directory, "agent.key"),
            approver: token(directory, "approver.key"),
        };
        look_again(&client(&servers[0]), &mut last).await;
        answers.append(&mut last);

        let working: Vec<_> = (0..CLIENTS)
            .map(|index| {
                let client = client(&servers[index % 2]);
                let dice = Dice(dice.roll(u64::MAX));
                tokio::spawn(client.work(dice, format!("{round}-{index}")))
            })
            .collect();
        let first = usize::from(dice.roll(2) == 0);
        // The moment of the kill is what the test is about.
        tokio::time::sleep(Duration::from_micros(dice.roll(100_000))).await;
        servers[first].kill();
        tokio::time::sleep(Duration::from_micros(dice.roll(15_000))).await;
        servers[1 - first].kill();
        kills += 2;
        for working in working {
            last.append(&mut working.await.unwrap());
        }
        if round % PROVE_EVERY == PROVE_EVERY - 1 || round == rounds - 1 {
            answers.append(&mut last.clone());
            entries = prove(directory, &mut answers, &mut head).await;
        }
    }
    let open = answers.values().filter(|known| known.state == ActionState::Pending).count();
    println!(
        "{kills} kills; {} actions answered, {open} of them pending; {entries} entries verified",
        answers.len()
    );
    assert!(answers.len() > rounds, "too little was done to prove anything");
}
