//! Following what happens: in the process, and as server-sent events.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use ascend_center::{AuditKind, Center, NewKey, Role, ServeConfig};
use ascend_sdk::Authority;
use reqwest::Response;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use support::{
    delete, number, open,
    served::{Served, token},
};
use tokio::{net::TcpListener, time::timeout};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn following_misses_nothing_and_notices_expiries() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let mut follow = center.follow(None).await.unwrap();
    let mut next = async |kind: AuditKind| {
        let entry = timeout(PATIENCE, follow.next()).await.unwrap().unwrap();
        assert_eq!(entry.event.kind, kind, "{entry:?}");
        entry
    };
    let mut action = delete();
    action.approval_timeout = Duration::from_millis(300);
    let id = number(&center.evaluate(&action).await.unwrap().action_id);
    next(AuditKind::PoliciesLoaded).await;
    let evaluated = next(AuditKind::Evaluated).await;
    assert_eq!(evaluated.event.action, Some(id));
    let expired = next(AuditKind::Expired).await;
    assert_eq!(expired.event.action, Some(id), "told when its time came, though nobody asked");

    // From another handle on the same directory, as another process has it.
    let other = open(directory.path()).await;
    let alice = other.local_approver().await.unwrap();
    other.kill("an incident", &alice).await.unwrap();
    next(AuditKind::Killed).await;
    let mut again = center.follow(Some(evaluated.seq)).await.unwrap();
    let first = timeout(PATIENCE, again.next()).await.unwrap().unwrap();
    assert_eq!(first, expired, "goes on after the given number");
}

#[tokio::test]
async fn what_a_process_asked_that_is_gone_expires_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let mut follow = center.follow(None).await.unwrap();
    let mut other = Served::start(directory.path());
    let body = json!({
        "server_id": "srv", "namespace": "database", "verb": "delete", "resource": "x",
        "approval_timeout_seconds": 1,
    });
    let agent = token(directory.path(), "agent.key");
    let request = reqwest::Client::new().post(format!("{}/mcp/governance/evaluate", other.url));
    let answer: Value =
        request.bearer_auth(agent).json(&body).send().await.unwrap().json().await.unwrap();
    other.kill();
    let expired = loop {
        let entry = timeout(PATIENCE, follow.next()).await.unwrap().unwrap();
        if entry.event.kind == AuditKind::Expired {
            break entry;
        }
    };
    assert_eq!(expired.event.action, answer["action_id"].as_i64());
    let until = center.action(expired.event.action.unwrap()).await.unwrap().unwrap().expires_at;
    assert!(expired.at >= until, "never before its time");
}

/// What is read of a stream of events.
struct Reader {
    answer: Response,
    text: String,
}

impl Reader {
    async fn open(url: &str, credential: &str, last: Option<i64>) -> Self {
        let mut request = reqwest::Client::new().get(format!("{url}/api/v1/events"));
        request = request.bearer_auth(credential);
        if let Some(last) = last {
            request = request.header("last-event-id", last.to_string());
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let mut reader = Self { answer, text: String::new() };
        let hello = reader.block().await.unwrap();
        assert_eq!(hello, "retry: 500\n: following");
        reader
    }

    /// The next block of lines; `None` at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let chunk = timeout(PATIENCE, self.answer.chunk()).await.unwrap().unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event: its number, its name, its data.
    async fn event(&mut self) -> Option<(i64, String, Value)> {
        let block = self.block().await?;
        let field = |name: &str| {
            let value = block.lines().find_map(|line| line.strip_prefix(name));
            value.unwrap_or_else(|| panic!("{name} in {block}")).to_owned()
        };
        let data = serde_json::from_str(&field("data: ")).unwrap();
        Some((field("id: ").parse().unwrap(), field("event: "), data))
    }
}

async fn served(center: &Center) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let center = center.clone();
    tokio::spawn(async move {
        center.serve(listener, ServeConfig::new(), std::future::pending()).await.unwrap();
    });
    url
}

#[tokio::test]
async fn events_are_streamed_and_go_on_where_they_were_cut() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let url = served(&center).await;
    let owner = token(directory.path(), "approver.key");
    let mut reader = Reader::open(&url, &owner, None).await;
    let id = number(&center.evaluate(&delete()).await.unwrap().action_id);
    let (_, name, _) = reader.event().await.unwrap();
    assert_eq!(name, "policies_loaded");
    let (seen, name, data) = reader.event().await.unwrap();
    assert_eq!(
        (name.as_str(), &data["action"], &data["state"]),
        ("evaluated", &id.into(), &"pending".into())
    );
    assert_eq!(data["seq"], seen);
    drop(reader);

    let alice = center.local_approver().await.unwrap();
    center.reject(id, &alice, Some("no".to_owned())).await.unwrap();
    let mut reader = Reader::open(&url, &owner, Some(seen)).await;
    let (next, name, data) = reader.event().await.unwrap();
    assert_eq!((next, name.as_str(), &data["comment"]), (seen + 1, "rejected", &"no".into()));
    for header in ["x", "-", ""] {
        let request = reqwest::Client::new().get(format!("{url}/api/v1/events"));
        let answer = request.bearer_auth(&owner).header("last-event-id", header).send();
        assert_eq!(answer.await.unwrap().status(), 422, "{header:?}");
    }
}

#[tokio::test]
async fn a_stream_ends_when_rights_change() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let url = served(&center).await;
    let owner = center.local_approver().await.unwrap();
    center.create_user(&owner, "vera", Role::Viewer, None).await.unwrap();
    let issued = center.create_token(&owner, "vera", "cli", PATIENCE * 60).await.unwrap();
    let vera = issued.token.expose_secret().to_owned();
    let mut reader = Reader::open(&url, &vera, None).await;
    center.revoke_token(&owner, issued.id).await.unwrap();
    assert_eq!(reader.event().await.unwrap().1, "credential_revoked");
    assert!(reader.event().await.is_none(), "the stream ends");
    let again = reqwest::Client::new().get(format!("{url}/api/v1/events")).bearer_auth(&vera);
    assert_eq!(again.send().await.unwrap().status(), 401);

    let agent = center.create_key(&owner, NewKey::of("a")).await.unwrap();
    let refused = reqwest::Client::new().get(format!("{url}/api/v1/events"));
    let refused = refused.bearer_auth(agent.token.expose_secret()).send().await.unwrap();
    assert_eq!(refused.status(), 403, "an agent knows only what is its own");
}
