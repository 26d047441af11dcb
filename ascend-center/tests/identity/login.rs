//! Logins, sessions, and those who try.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use ascend_center::{AuditKind, Role, ServeConfig};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    house::{Credential, House, PASSWORD, session_of, text},
    support::{self, database, served::token, until},
};

#[tokio::test]
async fn a_login_opens_a_session_that_pages_cannot_read() {
    let house = House::new().await;
    house.person("bob", Role::Approver).await;
    let answer = house.login(json!({ "name": "bob", "password": PASSWORD })).await;
    assert_eq!(answer.status(), 200);
    let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    assert!(cookie.starts_with("__Host-ascend-session=ascend_session_"), "{cookie}");
    for word in ["Path=/", "Secure", "HttpOnly", "SameSite=Strict", "Max-Age=43200"] {
        assert!(cookie.split("; ").any(|part| part == word), "{word} is not in {cookie}");
    }
    assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
    let session = session_of(answer).await;
    let (status, who) = house.send(Method::GET, "/api/v1/session", &session, None).await;
    assert_eq!(status, 200);
    assert_eq!((&who["name"], &who["role"]), (&json!("bob"), &json!("approver")));
    assert!(who["csrf_token"].is_string() && who["expires_at"].is_string());

    // It approves, and the record says who.
    let id = house.pending(&house.agent("billing").await).await;
    let path = format!("/api/v1/actions/{id}/approve");
    let (status, approved) = house.send(Method::POST, &path, &session, Some(json!({}))).await;
    assert_eq!((status, &approved["reviewed_by"]), (StatusCode::OK, &json!("bob")));

    let (status, _) = house.send(Method::POST, "/api/v1/logout", &session, None).await;
    assert_eq!(status, 200);
    let over = house.send(Method::GET, "/api/v1/session", &session, None).await;
    assert_eq!(over.0, 401);
    assert_eq!(house.events(AuditKind::LoggedIn).await, [("bob".into(), "from 127.0.0.1".into())]);
    assert_eq!(house.events(AuditKind::LoggedOut).await.len(), 1);
    for secret in [PASSWORD, &cookie[22..60]] {
        assert!(!database::holds(house.directory.path(), secret));
    }
}

#[tokio::test]
async fn the_owner_of_the_directory_logs_in_without_an_account() {
    let house = House::new().await;
    let owner = token(house.directory.path(), "approver.key");
    let session = session_of(house.login(json!({ "token": owner })).await).await;
    let (_, who) = house.send(Method::GET, "/api/v1/session", &session, None).await;
    assert_eq!((&who["name"], &who["role"]), (&json!("alice"), &json!("admin")));
    assert_eq!(who["kind"], "owner");
    let tokens = house.send(Method::POST, "/api/v1/tokens", &session, Some(json!({}))).await;
    assert_eq!(tokens.0, 403, "the file is their token");
    // Nothing else opens a session by a token.
    for other in [
        token(house.directory.path(), "agent.key"),
        house.person("bob", Role::Admin).await,
        "nonsense".to_owned(),
    ] {
        assert_eq!(house.login(json!({ "token": other })).await.status(), 401);
    }
    // A new file is a new owner.
    std::fs::remove_file(house.directory.path().join("approver.key")).unwrap();
    let config = support::config(house.directory.path());
    // Of several directories over one database, this one counts.
    #[cfg(feature = "postgres")]
    let config = config.adopt_keys(true);
    ascend_center::Center::open(config).await.unwrap();
    let over = house.send(Method::GET, "/api/v1/session", &session, None).await;
    assert_eq!(over.0, 401);
}

#[tokio::test]
async fn each_login_is_another_session_and_ends_the_browsers_earlier_one() {
    let house = House::new().await;
    house.person("bob", Role::Viewer).await;
    let first = house.session("bob").await;
    let elsewhere = house.session("bob").await;
    let Credential::Session { cookie, .. } = &first else { panic!("a session") };
    let answer = house
        .http
        .post(format!("{}/api/v1/login", house.url))
        .header(header::COOKIE, cookie)
        .json(&json!({ "name": "bob", "password": PASSWORD }))
        .send()
        .await
        .unwrap();
    let second = session_of(answer).await;
    let status = async |session: &Credential| {
        house.send(Method::GET, "/api/v1/session", session, None).await.0.as_u16()
    };
    assert_eq!(
        [status(&first).await, status(&second).await, status(&elsewhere).await],
        [401, 200, 200]
    );

    let change = json!({ "current": PASSWORD, "new": "another long password" });
    let wrong = json!({ "current": "not the password", "new": "another long password" });
    let short = json!({ "current": PASSWORD, "new": "short" });
    let send = async |body: Value| {
        house.send(Method::POST, "/api/v1/password", &second, Some(body)).await.0.as_u16()
    };
    assert_eq!([send(wrong).await, send(short).await, send(change).await], [401, 422, 200]);
    assert_eq!([status(&second).await, status(&elsewhere).await], [401, 401]);
    let old = house.login(json!({ "name": "bob", "password": PASSWORD })).await;
    assert_eq!(old.status(), 401);
    let new = house.login(json!({ "name": "bob", "password": "another long password" })).await;
    assert_eq!(new.status(), 200);
}

#[tokio::test]
async fn people_make_and_end_their_own_tokens() {
    let house = House::new().await;
    house.person("bob", Role::Viewer).await;
    house.person("carol", Role::Admin).await;
    let session = house.session("bob").await;
    let made = json!({ "name": "laptop", "lifetime_days": 7 });
    let (status, made) = house.send(Method::POST, "/api/v1/tokens", &session, Some(made)).await;
    assert_eq!(status, StatusCode::CREATED);
    let token = Credential::Token(made["token"].as_str().unwrap().to_owned());
    let (_, who) = house.send(Method::GET, "/api/v1/session", &token, None).await;
    assert_eq!((&who["name"], &who["role"]), (&json!("bob"), &json!("viewer")));
    let (_, listed) = house.send(Method::GET, "/api/v1/tokens", &session, None).await;
    let names: Vec<_> = listed["tokens"].as_array().unwrap().iter().map(|t| &t["user"]).collect();
    assert_eq!(names, ["bob", "bob"], "their own alone");
    assert!(!listed.to_string().contains("ascend_user"));

    let revoke = async |id: &Value| {
        let path = format!("/api/v1/tokens/{id}");
        house.send(Method::DELETE, &path, &session, None).await.0.as_u16()
    };
    assert_eq!(revoke(&json!(2)).await, 404, "carol's is none that bob knows of");
    assert_eq!(revoke(&made["id"]).await, 200);
    assert_eq!(house.send(Method::GET, "/api/v1/session", &token, None).await.0, 401);
    for odd in [json!({}), json!({ "name": "a b" }), json!({ "name": "x", "lifetime_days": 0 })] {
        let refused = house.send(Method::POST, "/api/v1/tokens", &session, Some(odd.clone())).await;
        assert_eq!(refused.0, 422, "{odd}");
    }
}

#[tokio::test]
async fn what_another_page_sends_is_not_done() {
    let house = House::new().await;
    house.person("bob", Role::Admin).await;
    let Credential::Session { cookie, csrf } = house.session("bob").await else {
        panic!("a session")
    };
    let send = async |headers: &[(&str, &str)]| {
        let id = house.pending(&token(house.directory.path(), "agent.key")).await;
        let url = format!("{}/api/v1/actions/{id}/approve", house.url);
        let mut request = house.http.post(url).header(header::COOKIE, &cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let status = request.send().await.unwrap().status().as_u16();
        let state = house.center.action(id).await.unwrap().unwrap().state;
        assert_eq!(state.as_str() == "approved", status == 200, "{headers:?}");
        status
    };
    let own = ("origin", &*house.url);
    let csrf = ("x-csrf-token", &*csrf);
    assert_eq!(send(&[own, csrf]).await, 200);
    assert_eq!(send(&[("sec-fetch-site", "same-origin"), csrf]).await, 200);
    let other = house.url.replace("http:", "https:");
    for headers in [
        [].as_slice(),
        &[csrf],
        &[own],
        &[own, ("x-csrf-token", "")],
        &[own, ("x-csrf-token", "0000")],
        &[("origin", "http://evil.example"), csrf],
        &[("origin", "null"), csrf],
        &[("origin", &other), csrf],
        &[("sec-fetch-site", "cross-site"), own, csrf],
        &[("sec-fetch-site", "same-site"), csrf],
    ] {
        assert_eq!(send(headers).await, 403, "{headers:?}");
    }

    // Nor does another page log its visitor in.
    let login = house.http.post(format!("{}/api/v1/login", house.url));
    let login = login.header("origin", "http://evil.example");
    let body = json!({ "name": "bob", "password": PASSWORD });
    assert_eq!(login.json(&body).send().await.unwrap().status(), 403);
    // A token is sent by no browser of itself, and needs none of it.
    let key = token(house.directory.path(), "approver.key");
    let id = house.pending(&token(house.directory.path(), "agent.key")).await;
    let path = format!("/api/v1/actions/{id}/approve");
    let (status, _) = house.send(Method::POST, &path, &Credential::Token(key), None).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn who_there_is_cannot_be_told_from_the_answer() {
    let house = House::new().await;
    house.person("bob", Role::Viewer).await;
    house.person("carol", Role::Viewer).await;
    house.center.set_disabled(&house.owner, "carol", true).await.unwrap();
    house.center.create_user(&house.owner, "dave", Role::Viewer, None).await.unwrap();
    let mut answers = Vec::new();
    for (name, password) in [
        ("bob", "not the password"),
        ("nobody", "not the password"),
        ("carol", PASSWORD),
        ("dave", ""),
        ("alice", "not the password"),
        ("'; DROP TABLE users; --", "x"),
    ] {
        let answer = house.login(json!({ "name": name, "password": password })).await;
        let headers = answer.headers().clone();
        assert!(!headers.contains_key(header::SET_COOKIE));
        answers.push((answer.status(), answer.text().await.unwrap()));
    }
    assert_eq!(answers[0].0, 401);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let failed = house.events(AuditKind::LoginFailed).await;
    let names: Vec<_> = failed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["bob", "unknown", "unknown", "dave", "unknown", "unknown"]);
}

#[tokio::test]
async fn guessing_passwords_becomes_slow() {
    let house = House::new().await;
    house.person("bob", Role::Viewer).await;
    house.person("carol", Role::Viewer).await;
    let login = async |name: &str, password: &str| {
        house.login(json!({ "name": name, "password": password })).await
    };
    for name in ["bob", "nobody"] {
        for _ in 0..6 {
            assert_eq!(login(name, "not the password").await.status(), 401);
        }
        let held = login(name, PASSWORD).await;
        assert_eq!(held.status(), StatusCode::TOO_MANY_REQUESTS, "{name}, even when it is right");
        assert_eq!(held.headers()[header::RETRY_AFTER], "1");
    }
    // Others are not held, and bob is not for ever.
    assert_eq!(login("carol", PASSWORD).await.status(), 200);
    until("bob can log in", async || login("bob", PASSWORD).await.status() == 200).await;
}

#[tokio::test]
async fn many_guesses_at_once_are_no_way_around() {
    let house = House::new().await;
    house.person("bob", Role::Viewer).await;
    let tries: Vec<_> = (0..24)
        .map(|index| {
            let (http, url) = (house.http.clone(), format!("{}/api/v1/login", house.url));
            let body = json!({ "name": "bob", "password": format!("guess number {index}") });
            tokio::spawn(async move { http.post(url).json(&body).send().await.unwrap().status() })
        })
        .collect();
    let mut checked = 0;
    for attempt in tries {
        match attempt.await.unwrap().as_u16() {
            401 => checked += 1,
            429 => {}
            status => panic!("{status}"),
        }
    }
    assert!((1..=7).contains(&checked), "{checked} were checked");
}

#[tokio::test]
async fn unknown_tokens_are_slowed_down_and_known_ones_never() {
    let house = House::new().await;
    let key = house.agent("billing").await;
    let mut statuses = Vec::new();
    for index in 0..40 {
        let guess = Credential::Token(format!("ascend_agent_{index:064}"));
        statuses.push(house.send(Method::GET, "/health", &guess, None).await.0.as_u16());
        assert!(house.knows(&key).await, "from the same address");
    }
    assert_eq!(statuses[0], 401);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 401 | 429)));
}

#[tokio::test]
async fn a_proxys_word_counts_for_where_a_login_comes_from() {
    let proxy = "127.0.0.1".parse().unwrap();
    let config = ServeConfig::new().behind_proxy(proxy).allow_host("center.example");
    for (config, origin, address) in [
        (config, "https://center.example", "203.0.113.9"),
        (ServeConfig::new().allow_host("center.example"), "http://center.example", "127.0.0.1"),
    ] {
        let house = House::with(config).await;
        house.person("bob", Role::Viewer).await;
        let login = |origin: &'static str| {
            house
                .http
                .post(format!("{}/api/v1/login", house.url))
                .header("host", "center.example")
                .header("x-forwarded-for", "198.51.100.1, 203.0.113.9")
                .header("origin", origin)
                .json(&json!({ "name": "bob", "password": PASSWORD }))
                .send()
        };
        assert_eq!(login(origin).await.unwrap().status(), 200);
        assert_eq!(login("https://evil.example").await.unwrap().status(), 403);
        assert_eq!(house.events(AuditKind::LoggedIn).await[0].1, format!("from {address}"));
    }
}

#[cfg(unix)]
#[tokio::test]
async fn no_secret_is_logged() {
    let house = House::new().await;
    let personal = house.person("bob", Role::Admin).await;
    let key = house.agent("billing").await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_ascend-center"))
        .args(["serve", "--listen", "127.0.0.1:0", "--directory"])
        .arg(house.directory.path())
        .envs(database::variable(house.directory.path()))
        .env("RUST_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = child.stderr.take().unwrap();
    let logged = std::thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).unwrap();
        text
    });
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    let served = House { url, ..house };

    let typed = "hunter2 in the wrong field";
    assert_eq!(served.login(json!({ "name": typed, "password": "x" })).await.status(), 401);
    let guess = "a guess that is no password";
    assert_eq!(served.login(json!({ "name": "bob", "password": guess })).await.status(), 401);
    let session = served.session("bob").await;
    let Credential::Session { cookie, csrf } = &session else { panic!("a session") };
    assert!(served.knows(&personal).await && served.knows(&key).await);
    served.pending(&key).await;
    let admin = async |arguments: &[&str]| {
        let mut command = served.remote(&personal, arguments);
        command.env("RUST_LOG", "trace");
        tokio::process::Command::from(command).output().await.unwrap()
    };
    let made = served.send(Method::POST, "/api/v1/tokens", &session, Some(json!({ "name": "n" })));
    let mut made = vec![made.await.1["token"].as_str().unwrap().to_owned()];
    let mut told = String::new();
    for arguments in [
        &["keys", "create", "shipping"][..],
        &["keys", "rotate", "1"],
        &["users", "create", "eve", "--role", "viewer"],
        &["users", "password", "eve"],
        &["users", "token", "create", "eve"],
    ] {
        let done = admin(arguments).await;
        assert!(done.status.success(), "{}", text(&done.stderr));
        made.push(text(&done.stdout).trim().to_owned());
        told += text(&done.stderr);
    }

    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    let logged = logged.join().unwrap();
    assert!(logged.contains("login_failed") && logged.contains("logged_in"), "it does log");
    let secret = cookie.split_once('=').unwrap().1;
    let known = [PASSWORD, typed, guess, secret, csrf, &personal, &key];
    for secret in known.into_iter().chain(made.iter().map(String::as_str)) {
        assert!(!logged.contains(secret), "{secret}");
        assert!(!told.contains(secret), "{secret}");
    }
    assert!(!logged.contains("$argon2id"));
}
