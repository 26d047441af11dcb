//! What the server sends, over HTTP, without a script.

use std::time::Duration;

use reqwest::{StatusCode, header};
use serde_json::json;

use crate::{
    house::PASSWORD,
    site::{HOSTILE, SHOWN, Site},
    support::{state, until},
};

const PAGES: [&str; 7] =
    ["/queue", "/history", "/policies", "/audit", "/switch", "/account", "/actions/1"];

#[tokio::test]
async fn every_page_is_for_people_and_guarded() {
    let site = Site::new().await;
    let id = site.ask(json!({})).await;
    assert_eq!(id, 1);
    for name in ["vera", "paula", "ada"] {
        let person = site.person(name).await;
        for page in PAGES {
            let answer = site.get(page, Some(&person)).await;
            assert_eq!(answer.status, 200, "{page} {}", answer.text);
            let header = |name| answer.headers[name].to_str().unwrap();
            assert_eq!(header("cache-control"), "no-store", "{page}");
            assert_eq!(header("content-type"), "text/html; charset=utf-8", "{page}");
            assert!(header("content-security-policy").starts_with("default-src 'none'"), "{page}");
            for inline in [" style=", "<style", " onclick", "javascript:"] {
                assert!(!answer.text.contains(inline), "{page} has {inline}");
            }
            assert_eq!(answer.text.matches("<h1").count(), 1, "{page}");
        }
    }
    // Nobody is led to the login, and back from there.
    for page in PAGES {
        let answer = site.get(page, None).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{page}");
        let login = answer.location.unwrap();
        assert!(login.starts_with("/login"), "{login}");
        assert_eq!(site.get(&login, None).await.status, 200);
    }
    assert_eq!(site.get("/actions/1", None).await.location.unwrap(), "/login?next=%2Factions%2F1");
    assert_eq!(site.get("/queue/events", None).await.location.as_deref(), Some("/login"));
    // A token is no login.
    let answer = reqwest::Client::new()
        .get(format!("{}/queue", site.house.url))
        .bearer_auth(&site.key)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 403);
    let missing = site.get("/actions/99", Some(&site.person("vera").await)).await;
    assert_eq!(missing.status, 404);
    assert!(missing.text.contains("<h1>Not found</h1>"), "{}", missing.text);
}

#[tokio::test]
async fn people_log_in_and_out_by_forms() {
    let site = Site::new().await;
    let wrong = [("name", "paula"), ("password", "wrong"), ("next", "/history")];
    let refused = site.post("/login", None, &wrong).await;
    assert_eq!(refused.status, 401);
    assert!(refused.text.contains("The name or the password is wrong."));
    assert!(refused.text.contains("value=\"/history\""), "the way on is kept");

    let right = [("name", "paula"), ("password", PASSWORD), ("next", "/history")];
    let let_in = site.post("/login", None, &right).await;
    assert_eq!((let_in.status.as_u16(), let_in.location.as_deref()), (303, Some("/history")));
    let cookie = let_in.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");

    for elsewhere in ["https://evil.example/", "//evil.example", "/\\evil.example"] {
        let fields = [("name", "paula"), ("password", PASSWORD), ("next", elsewhere)];
        let let_in = site.post("/login", None, &fields).await;
        assert_eq!(let_in.location.as_deref(), Some("/queue"), "{elsewhere}");
    }
    // Another site does not log its visitors in here.
    let foreign = site.post_from("https://evil.example", "/login", None, &right).await;
    assert_eq!(foreign.status, 403);
    assert!(!foreign.headers.contains_key(header::SET_COOKIE));

    let person = site.person("paula").await;
    let out = site.post("/logout", Some(&person), &[("csrf_token", &person.csrf)]).await;
    assert_eq!((out.status.as_u16(), out.location.as_deref()), (303, Some("/login")));
    assert_eq!(site.get("/queue", Some(&person)).await.status, 303);
}

#[tokio::test]
async fn only_a_form_of_the_page_itself_decides() {
    let site = Site::new().await;
    let id = site.ask(json!({})).await;
    let person = site.person("paula").await;
    let digest = site.house.center.action(id).await.unwrap().unwrap().digest.to_string();
    let path = format!("/actions/{id}/decide");
    let fields = |token: &'static str| [("csrf_token", token), ("decision", "approve")];
    let good = [("csrf_token", person.csrf.as_str()), ("digest", &digest), ("decision", "approve")];
    for (what, answer) in [
        ("another site", site.post_from("https://evil.example", &path, Some(&person), &good).await),
        ("no origin", site.post_from("null", &path, Some(&person), &good).await),
        ("no token", site.post(&path, Some(&person), &good[1..]).await),
        ("a wrong token", site.post(&path, Some(&person), &fields("wrong")).await),
        ("a token twice", site.post(&path, Some(&person), &[&good[..], &good[..1]].concat()).await),
    ] {
        assert_eq!(answer.status, 403, "{what}: {}", answer.text);
        assert!(answer.text.contains("<h1>Not allowed</h1>"), "{what}: {}", answer.text);
        assert_eq!(state(&site.house.center, id).await.as_str(), "pending", "{what}");
    }
    let viewer = site.person("vera").await;
    assert_eq!(site.decide(id, &viewer, "approve").await.status, 403);
    // What was seen is another action.
    let other = "0".repeat(64);
    let changed =
        [("csrf_token", person.csrf.as_str()), ("digest", &other), ("decision", "approve")];
    let refused = site.post(&path, Some(&person), &changed).await;
    assert_eq!(refused.status, 409);
    assert!(refused.text.contains("is not the one that you saw"), "{}", refused.text);
    let odd = [("csrf_token", person.csrf.as_str()), ("digest", &digest), ("decision", "maybe")];
    assert_eq!(site.post(&path, Some(&person), &odd).await.status, 422);
    assert_eq!(state(&site.house.center, id).await.as_str(), "pending");

    let done = site.post(&path, Some(&person), &good).await;
    assert_eq!(done.location.as_deref(), Some(format!("/queue?done={id}").as_str()));
    assert_eq!(state(&site.house.center, id).await.as_str(), "approved");
    let queue = site.get(&done.location.unwrap(), Some(&person)).await.text;
    assert!(queue.contains("was approved by paula"), "{queue}");
}

#[tokio::test]
async fn whoever_comes_too_late_is_told_so() {
    let site = Site::new().await;
    let (paula, ada) = (site.person("paula").await, site.person("ada").await);
    let id = site.ask(json!({})).await;
    assert_eq!(site.decide(id, &paula, "approve").await.status, 303);
    // The same button again is the same decision; another's is told who was faster.
    assert_eq!(site.decide(id, &paula, "approve").await.status, 303);
    for (person, decision) in [(&paula, "reject"), (&ada, "approve"), (&ada, "reject")] {
        let late = site.decide(id, person, decision).await;
        assert_eq!(late.status, 409);
        assert!(late.text.contains("it was approved by paula"), "{}", late.text);
    }

    let id = site.ask(json!({})).await;
    site.house.sql("UPDATE actions SET expires_at = 1 WHERE state = 'pending'").await;
    let late = site.decide(id, &paula, "approve").await;
    assert_eq!(late.status, 409);
    assert!(late.text.contains("it expired"), "{}", late.text);

    // At once: one of them decides.
    let id = site.ask(json!({})).await;
    let (one, other) =
        tokio::join!(site.decide(id, &paula, "approve"), site.decide(id, &ada, "reject"));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 409]);
}

#[tokio::test]
async fn what_an_agent_wrote_is_shown_as_what_it_is() {
    let site = Site::new().await;
    let hostile = json!({
        "server_id": HOSTILE, "tool": HOSTILE, "resource": HOSTILE, "summary": HOSTILE,
        "parameters": { "query": format!("DELETE FROM a -- {HOSTILE}"), HOSTILE: HOSTILE },
        "user_context": { HOSTILE: HOSTILE },
        "session_context": { "session_id": HOSTILE, "client_name": HOSTILE },
    });
    let id = site.ask(hostile).await;
    let person = site.person("paula").await;
    let comment = [
        ("csrf_token", person.csrf.clone()),
        ("digest", site.house.center.action(id).await.unwrap().unwrap().digest.to_string()),
        ("decision", "reject".to_owned()),
        ("comment", HOSTILE.to_owned()),
    ];
    let mut pages = vec!["/queue".to_owned(), format!("/actions/{id}")];
    for round in 0..2 {
        for page in &pages {
            let text = site.get(page, Some(&person)).await.text;
            let shown = text_of(&text);
            assert!(!text.contains("<script>window"), "{page}");
            assert!(!text.contains("<img src=x"), "{page}");
            let raw = text.chars().find(|c| *c != '\n' && ascend_sdk::is_invisible(*c));
            assert_eq!(raw, None, "{page}");
            assert!(shown.contains(SHOWN), "{page}: {shown}");
        }
        if round == 0 {
            let fields: Vec<_> =
                comment.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let done = site.post(&format!("/actions/{id}/decide"), Some(&person), &fields).await;
            assert_eq!(done.status, 303);
            pages = vec![format!("/actions/{id}"), "/history".to_owned(), "/audit".to_owned()];
        }
    }
}

/// The text of a page, as a browser has it.
fn text_of(html: &str) -> String {
    let mut out = String::new();
    for part in html.split('<') {
        out.push_str(part.split_once('>').map_or(part, |(_, text)| text));
    }
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")]
        .iter()
        .fold(out, |out, (entity, text)| out.replace(entity, text))
}

#[tokio::test]
async fn the_history_is_searched_and_paged() {
    let site = Site::new().await;
    let person = site.person("vera").await;
    for number in 0..60 {
        let server = if number % 2 == 0 { "even" } else { "odd" };
        let body = json!({
            "server_id": server, "summary": format!("Delete 100%_{number}."),
            "parameters": { "note": format!("needle-{number}.") },
        });
        site.ask(body).await;
    }
    let rows = |text: &str| text.matches("<td class=\"what\">").count();
    let first = site.get("/history", Some(&person)).await.text;
    assert_eq!(rows(&first), 50);
    assert!(first.contains("<svg") && first.contains("The same as a table"));
    let older = first.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let second = site.get(&older.replace("&amp;", "&"), Some(&person)).await.text;
    assert_eq!(rows(&second), 10);
    for (query, expected) in [
        ("q=needle-7.", 1),
        ("q=NEEDLE-7.", 1),
        ("q=100%25_7.", 1),
        ("q=100_", 0),
        ("q=%27+OR+1%3D1", 0),
        ("agent=odd", 30),
        ("agent=odd&q=needle-1", 6),
        ("state=pending&risk=61&tool=delete_records", 50),
        ("state=completed", 0),
        ("risk=86", 0),
        ("since=2020-01-01&until=2020-12-31", 0),
        ("since=nonsense", 50),
    ] {
        let page = site.get(&format!("/history?{query}"), Some(&person)).await;
        assert_eq!(page.status, 200, "{query}");
        assert_eq!(rows(&page.text), expected, "{query}");
    }
}

#[tokio::test]
async fn policies_switch_and_log_are_shown_and_used() {
    let site = Site::new().await;
    site.ask(json!({})).await;
    let (vera, paula, ada) =
        (site.person("vera").await, site.person("paula").await, site.person("ada").await);
    let policies = site.get("/policies", Some(&paula)).await.text;
    assert!(policies.contains("deletes-need-approval"), "{policies}");
    assert!(policies.contains("matched 1 time, last"), "{policies}");
    assert!(policies.contains("never matched") && policies.contains("Source, line"));
    assert!(!site.get("/policies", Some(&vera)).await.text.contains("Source, line"));

    let raise = |person: &crate::site::Person, reason: &'static str| {
        [("csrf_token", person.csrf.clone()), ("reason", reason.to_owned())]
    };
    let send = async |path, person, fields: &[(&str, String)]| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        site.post(path, Some(person), &fields).await.status.as_u16()
    };
    assert_eq!(send("/switch/raise", &vera, &raise(&vera, "no")).await, 403);
    assert_eq!(send("/switch/raise", &paula, &raise(&paula, " ")).await, 422);
    assert_eq!(site.house.center.kill_switch().await.unwrap(), None);
    assert_eq!(send("/switch/raise", &paula, &raise(&paula, "an <incident>")).await, 303);
    let queue = site.get("/queue", Some(&vera)).await.text;
    assert!(queue.contains("The kill switch is raised") && queue.contains("an &lt;incident&gt;"));
    assert_eq!(send("/switch/release", &paula, &raise(&paula, "")).await, 403);
    assert_eq!(send("/switch/release", &ada, &raise(&ada, "")).await, 303);
    assert_eq!(site.house.center.kill_switch().await.unwrap(), None);

    let log = site.get("/audit?kind=killed", Some(&vera)).await.text;
    assert!(log.contains("an &lt;incident&gt;"), "{log}");
    let verify = [("csrf_token", vera.csrf.as_str())];
    let proof = site.post("/audit/verify", Some(&vera), &verify).await.text;
    assert!(proof.contains("The log stands as it was written."), "{proof}");
    site.house.sql("UPDATE actions SET resource = 'elsewhere'").await;
    let proof = site.post("/audit/verify", Some(&vera), &verify).await.text;
    assert!(proof.contains("The log does not stand as it was written."), "{proof}");
    assert!(proof.contains("action 1 stands otherwise"), "{proof}");
}

#[tokio::test]
async fn people_see_to_their_accounts() {
    let site = Site::new().await;
    let paula = site.person("paula").await;
    let token = [("csrf_token", paula.csrf.as_str()), ("name", "laptop"), ("days", "7")];
    let made = site.post("/account/tokens", Some(&paula), &token).await;
    let token = made.text.split("tabindex=\"0\">").nth(1).unwrap().split('<').next().unwrap();
    assert!(site.house.knows(token).await, "{token}");
    assert!(!site.get("/account", Some(&paula)).await.text.contains(token), "shown once");
    let bad = [("csrf_token", paula.csrf.as_str()), ("name", "x"), ("days", "9999")];
    assert_eq!(site.post("/account/tokens", Some(&paula), &bad).await.status, 422);
    let id = site.house.center.tokens().await.unwrap();
    let id = id.iter().find(|token| token.name == "laptop").unwrap().id;
    let ends = format!("/account/tokens/{id}/revoke");
    let form = [("csrf_token", paula.csrf.as_str())];
    assert_eq!(site.post(&ends, Some(&site.person("ada").await), &form).await.status, 403);
    assert_eq!(site.post(&ends, Some(&paula), &form).await.status, 303);
    assert!(!site.house.knows(token).await);
    let new = "another correct horse battery";
    let change = [("csrf_token", paula.csrf.as_str()), ("current", PASSWORD), ("new", new)];
    assert_eq!(site.post("/account/password", Some(&paula), &change).await.status, 303);
    assert_eq!(site.get("/queue", Some(&paula)).await.status, 303, "the session is over");
    let again = [("name", "paula"), ("password", new)];
    assert_eq!(site.post("/login", None, &again).await.status, 303);
}

#[tokio::test]
async fn the_page_files_are_kept_for_good() {
    let site = Site::new().await;
    let login = site.get("/login", None).await.text;
    let files: Vec<&str> = login.split('"').filter(|part| part.starts_with("/assets/")).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let answer = site.get(file, None).await;
        assert_eq!(answer.status, 200, "{file}");
        let kept = answer.headers["cache-control"].to_str().unwrap();
        assert!(kept.contains("immutable"), "{file}: {kept}");
        assert!(answer.text.len() < 32 * 1024, "{file} has {} bytes", answer.text.len());
    }
    assert_eq!(site.get("/assets/page.0000.css", None).await.status, 404);
}

/// The events of a stream as they come.
struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    async fn open(site: &Site, cookie: &str) -> Self {
        let request = reqwest::Client::new().get(format!("{}/queue/events", site.house.url));
        let response = request.header(header::COOKIE, cookie).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event's name and data; `None` at the end.
    async fn next(&mut self) -> Option<(String, String)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default()
                };
                let (name, data) = (field("event: ").to_owned(), field("data: ").to_owned());
                self.text = rest.to_owned();
                if !name.is_empty() {
                    return Some((name, data));
                }
                continue;
            }
            let wait = tokio::time::timeout(Duration::from_secs(20), self.response.chunk());
            match wait.await.expect("an event in time") {
                Ok(Some(part)) => self.text.push_str(std::str::from_utf8(&part).unwrap()),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    async fn ids(&mut self) -> Vec<i64> {
        let (name, data) = self.next().await.unwrap();
        assert_eq!(name, "queue");
        let data: serde_json::Value = serde_json::from_str(&data).unwrap();
        data["ids"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect()
    }
}

#[tokio::test]
async fn streams_tell_what_waits_and_end_with_the_session() {
    let site = Site::new().await;
    let paula = site.person("paula").await;
    let mut events = Events::open(&site, &paula.cookie).await;
    assert!(events.ids().await.is_empty());
    let id = site.ask(json!({})).await;
    assert_eq!(events.ids().await, [id]);
    assert_eq!(site.decide(id, &paula, "reject").await.status, 303);
    let (_, data) = events.next().await.unwrap();
    assert!(data.contains("was rejected by paula"), "{data}");
    // What expires is told when it does.
    let timed = site.ask(json!({ "approval_timeout_seconds": 1 })).await;
    assert_eq!(events.ids().await, [timed]);
    assert!(events.ids().await.is_empty(), "it expired");

    // A further stream than so many ends the oldest.
    let mut more = Vec::new();
    for _ in 0..4 {
        let mut further = Events::open(&site, &paula.cookie).await;
        assert!(further.ids().await.is_empty());
        more.push(further);
    }
    assert_eq!(events.next().await.unwrap().0, "replaced");
    assert_eq!(events.next().await, None);

    let out = site.post("/logout", Some(&paula), &[("csrf_token", &paula.csrf)]).await;
    assert_eq!(out.status, 303);
    for mut stream in more {
        assert_eq!(stream.next().await.unwrap().0, "over");
        assert_eq!(stream.next().await, None);
    }
    let vera = site.person("vera").await;
    let mut events = Events::open(&site, &vera.cookie).await;
    assert!(events.ids().await.is_empty());
    site.house.center.set_disabled(&site.house.owner, "vera", true).await.unwrap();
    assert_eq!(events.next().await.unwrap().0, "over");
    until("nobody listens", async || site.get("/queue", Some(&vera)).await.status == 303).await;
}

#[tokio::test]
async fn two_people_approve_and_grants_are_given_and_revoked() {
    let site = Site::new().await;
    let (paula, ada) = (site.person("paula").await, site.person("ada").await);
    // As if two had been asked when it was opened.
    let id = site.ask(json!({})).await;
    let rules = "UPDATE actions SET rules = '[{\"policies\":[\"two\"],\"approvers\":null,\"quorum\":2,\
                 \"within_seconds\":null,\"escalate_to\":null,\"grants\":\"allow\"}]'";
    site.house.sql(rules).await;
    let mut events = Events::open(&site, &ada.cookie).await;
    assert_eq!(events.ids().await, [id]);
    let first = site.decide(id, &paula, "approve").await;
    let queue = site.get(&first.location.unwrap(), Some(&paula)).await.text;
    assert!(queue.contains("1 of 2 approvals by any approver"), "{queue}");
    assert!(queue.contains("Take your approval back"), "{queue}");
    let (_, data) = events.next().await.unwrap();
    let mark =
        serde_json::from_str::<serde_json::Value>(&data).unwrap()["marks"][id.to_string()].clone();
    assert!(queue.contains(&format!("data-mark=\"{}\"", mark.as_str().unwrap())), "{data}");
    assert!(!site.get("/queue", Some(&ada)).await.text.contains("Take your approval back"));

    let token = [("csrf_token", paula.csrf.as_str())];
    let back = site.post(&format!("/actions/{id}/take-back"), Some(&paula), &token).await;
    assert_eq!(back.status, 303);
    assert_eq!(
        site.post(&format!("/actions/{id}/take-back"), Some(&paula), &token).await.status,
        409
    );
    site.decide(id, &paula, "approve").await;
    assert_eq!(state(&site.house.center, id).await.as_str(), "pending");
    assert_eq!(site.decide(id, &ada, "approve").await.status, 303);
    assert_eq!(state(&site.house.center, id).await.as_str(), "approved");

    // With an approval, for ten more.
    let id = site.ask(json!({})).await;
    let digest = site.house.center.action(id).await.unwrap().unwrap().digest.to_string();
    let also = |minutes: &str, calls: &str, when: &str| {
        [
            ("csrf_token", ada.csrf.clone()),
            ("digest", digest.clone()),
            ("decision", "approve".to_owned()),
            ("also_minutes", minutes.to_owned()),
            ("also_calls", calls.to_owned()),
            ("also_when", when.to_owned()),
        ]
    };
    let send = async |fields: [(&str, String); 6]| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        site.post(&format!("/actions/{id}/decide"), Some(&ada), &fields).await
    };
    let when = "context.verb == \"delete\"";
    for (minutes, calls, when, said) in [
        ("x", "", "", "also_minutes"),
        ("99999", "", "", "at most 24 h"),
        ("", "", when, "needs an end"),
        ("30", "", "context.verp == \"delete\"", "verp"),
        ("30", "", "a\0b", "also_when"),
        ("30", "", &"x".repeat(4097), "also_when"),
    ] {
        let answer = send(also(minutes, calls, when)).await;
        assert_eq!(answer.status, 422, "{said}");
        assert!(answer.text.contains(said), "{said}: {}", answer.text);
    }
    assert_eq!(state(&site.house.center, id).await.as_str(), "pending");
    assert_eq!(send(also("30", "10", when)).await.status, 303);
    assert_eq!(state(&site.house.center, id).await.as_str(), "approved");
    let grants = site.get("/grants", Some(&paula)).await.text;
    assert!(grants.contains("0 of 10") && grants.contains(">live"), "{grants}");
    assert!(grants.contains("when <code>context.verb == &quot;delete&quot;</code>"), "{grants}");
    let vera = site.person("vera").await;
    for (person, status) in [(&vera, 403), (&paula, 303)] {
        let token = [("csrf_token", person.csrf.as_str())];
        let answer = site.post("/grants/1/revoke", Some(person), &token).await;
        assert_eq!(answer.status, status, "{}", answer.text);
    }
    let grants = site.get("/grants", Some(&paula)).await.text;
    assert!(grants.contains("revoked") && grants.contains("by <bdi>paula</bdi>"), "{grants}");
}
