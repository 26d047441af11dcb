//! TLS, and the command line from another machine.

use std::process::{Command, Output};

use ascend_center::{Role, ServeConfig};
use reqwest::{Certificate, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::{
    house::{Credential, House, text},
    support::served::token,
};

struct Files {
    directory: TempDir,
    pem: String,
}

impl Files {
    /// A certificate for this machine that vouches for itself.
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let pem = made.cert.pem();
        std::fs::write(directory.path().join("cert.pem"), &pem).unwrap();
        let key = made.signing_key.serialize_pem();
        std::fs::write(directory.path().join("key.pem"), key).unwrap();
        Self { directory, pem }
    }

    fn config(&self) -> ServeConfig {
        ServeConfig::new()
            .tls(self.directory.path().join("cert.pem"), self.directory.path().join("key.pem"))
    }

    /// A center with TLS.
    async fn house(&self) -> House {
        let mut house = House::with(self.config()).await;
        let certificate = Certificate::from_pem(self.pem.as_bytes()).unwrap();
        house.http = reqwest::Client::builder().tls_certs_only([certificate]).build().unwrap();
        house.url = house.url.replace("http://127.0.0.1", "https://localhost");
        house
    }

    async fn cli(&self, house: &House, token: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ascend-center"));
        command
            .args(["--url", &house.url, "--ca-cert"])
            .arg(self.directory.path().join("cert.pem"))
            .args(arguments)
            .env("ASCEND_CENTER_TOKEN", token)
            .env("RUST_LOG", "warn");
        tokio::process::Command::from(command).output().await.unwrap()
    }
}

#[tokio::test]
async fn with_tls_nothing_is_served_in_the_clear() {
    let files = Files::new();
    let house = files.house().await;
    let (status, health) = house.send(Method::GET, "/health", &Credential::Nothing, None).await;
    assert_eq!((status.as_u16(), &health["status"]), (200, &json!("healthy")));
    let plain = reqwest::get(house.url.replace("https:", "http:")).await;
    assert!(plain.is_err(), "{plain:?}");
    // One who connects and says nothing holds up nobody.
    let port = house.url.rsplit_once(':').unwrap().1;
    let silent = tokio::net::TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
    assert_eq!(house.send(Method::GET, "/health", &Credential::Nothing, None).await.0, 200);
    drop(silent);
    // The session's own page is one of https.
    house.person("bob", Role::Viewer).await;
    let session = house.session("bob").await;
    assert_eq!(house.send(Method::POST, "/api/v1/logout", &session, None).await.0, 200);
}

#[tokio::test]
async fn other_machines_are_served_with_tls_or_behind_a_proxy() {
    let files = Files::new();
    let house = House::new().await;
    let serve = async |config: ServeConfig| {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        house.center.serve(listener, config, std::future::ready(())).await
    };
    let refused = serve(ServeConfig::new().allow_host("center.example")).await.unwrap_err();
    assert!(refused.to_string().contains("open to other machines"), "{refused}");
    serve(files.config()).await.unwrap();
    serve(ServeConfig::new().behind_proxy("10.0.0.0/8".parse().unwrap())).await.unwrap();

    let key = files.directory.path().join("key.pem");
    let swapped = serve(ServeConfig::new().tls(&key, &key)).await.unwrap_err();
    assert!(swapped.to_string().contains("there is no certificate in it"), "{swapped}");
    let other = Files::new();
    let mixed = ServeConfig::new().tls(other.directory.path().join("cert.pem"), key);
    assert!(serve(mixed).await.is_err(), "the key of another certificate");
}

#[tokio::test]
async fn approvers_decide_from_another_machine() {
    let files = Files::new();
    let house = files.house().await;
    let bob = house.person("bob", Role::Approver).await;
    let eve = house.person("eve", Role::Viewer).await;
    let carol = house.person("carol", Role::Admin).await;
    let (first, second) = {
        let key = house.agent("billing").await;
        (house.pending(&key).await, house.pending(&key).await)
    };

    let listed = files.cli(&house, &eve, &["pending"]).await;
    let shown = text(&listed.stdout);
    assert!(shown.contains("2 actions wait for approval."), "{shown}{}", text(&listed.stderr));
    let command = format!("approve    ascend-center --url {}/ approve {first}", house.url);
    assert!(shown.contains(&command), "{shown}");
    let listed = files.cli(&house, &eve, &["pending", "--json"]).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((&listed[0]["id"], &listed[0]["requested_by"]), (&json!(first), &json!("billing")));

    let (id, other) = (first.to_string(), second.to_string());
    let refused = files.cli(&house, &eve, &["approve", &id]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("takes the role approver"));
    let approved = files.cli(&house, &bob, &["approve", &id, "-c", "fine"]).await;
    assert_eq!(text(&approved.stdout), format!("action {id} approved by bob\n"));
    let record = house.center.action(first).await.unwrap().unwrap();
    assert_eq!(
        (record.reviewed_by.as_deref(), record.comments.as_deref()),
        (Some("bob"), Some("fine"))
    );
    let again = files.cli(&house, &bob, &["reject", &id]).await;
    assert_eq!(again.status.code(), Some(4));
    assert!(text(&again.stderr).contains("it was approved by bob"));
    assert_eq!(files.cli(&house, &bob, &["approve", "77"]).await.status.code(), Some(3));
    let rejected = files.cli(&house, &bob, &["reject", &other]).await;
    assert_eq!(text(&rejected.stdout), format!("action {other} rejected by bob\n"));

    assert!(files.cli(&house, &bob, &["kill", "an incident"]).await.status.success());
    let switch = house.center.kill_switch().await.unwrap().unwrap();
    assert_eq!((&*switch.raised_by, &*switch.reason), ("bob", "an incident"));
    let shown = files.cli(&house, &eve, &["pending"]).await;
    assert!(text(&shown.stdout).contains("by bob: an incident"), "{}", text(&shown.stdout));
    let kept = files.cli(&house, &bob, &["release"]).await;
    assert_eq!(kept.status.code(), Some(1));
    assert!(text(&kept.stderr).contains("takes the role admin"));
    let released = files.cli(&house, &carol, &["release"]).await;
    assert_eq!(text(&released.stdout), "the kill switch is released\n");

    let managed = files.cli(&house, &carol, &["keys", "list"]).await;
    assert!(text(&managed.stdout).contains("billing"), "{}", text(&managed.stderr));
    let proved = files.cli(&house, &carol, &["audit", "verify"]).await;
    assert!(text(&proved.stderr).contains("at the center's directory"));
    let key = token(house.directory.path(), "agent.key");
    let agent = files.cli(&house, &key, &["approve", &other]).await;
    assert!(text(&agent.stderr).contains("an agent's key can neither approve nor reject"));
    for output in [&refused, &approved, &again, &agent] {
        let all = format!("{}{}", text(&output.stdout), text(&output.stderr));
        for secret in [&bob, &eve, &key] {
            assert!(!all.contains(secret.as_str()));
        }
    }
}
