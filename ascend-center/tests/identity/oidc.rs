//! Logins by an identity provider that the test itself is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use ascend_center::{AuditKind, OidcConfig, Role, ServeConfig};
use axum::{
    Json, Router,
    extract::State,
    http::HeaderMap,
    routing::{get, post},
};
use openidconnect::{
    JsonWebKeyId, PrivateSigningKey,
    core::{CoreEdDsaPrivateSigningKey, CoreJsonWebKeySet, CoreJwsSigningAlgorithm},
};
use reqwest::{Method, Response, StatusCode, Url, header};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use crate::house::{Credential, DAY, House};

const CLIENT: &str = "ascend-at-example";
const SECRET: &str = "the client's secret";

/// A provider, and what it will say of whoever logs in.
#[derive(Clone)]
struct Idp {
    issuer: String,
    key: Arc<CoreEdDsaPrivateSigningKey>,
    said: Arc<Mutex<Said>>,
}

#[derive(Default)]
struct Said {
    claims: Value,
    challenge: String,
    nonce: String,
    /// A token that somebody else signed.
    forged: bool,
    asked: Vec<HashMap<String, String>>,
}

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut bits = 0_u32;
        for index in 0..3 {
            bits = bits << 8 | u32::from(chunk.get(index).copied().unwrap_or_default());
        }
        for index in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * index) & 63) as usize]));
        }
    }
    text
}

fn signing_key() -> Arc<CoreEdDsaPrivateSigningKey> {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let id = Some(JsonWebKeyId::new("key-1".to_owned()));
    Arc::new(CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pair.serialize_pem(), id).unwrap())
}

impl Idp {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let idp = Self { issuer, key: signing_key(), said: Arc::default() };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(Self::description))
            .route("/keys", get(Self::keys))
            .route("/token", post(Self::token))
            .with_state(idp.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        idp
    }

    async fn description(State(idp): State<Self>) -> Json<Value> {
        let issuer = &idp.issuer;
        Json(json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/keys"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["EdDSA"],
        }))
    }

    async fn keys(State(idp): State<Self>) -> Json<CoreJsonWebKeySet> {
        Json(CoreJsonWebKeySet::new(vec![idp.key.as_verification_key()]))
    }

    async fn token(
        State(idp): State<Self>,
        headers: HeaderMap,
        body: String,
    ) -> (StatusCode, Json<Value>) {
        let form: Url = format!("{}/?{body}", idp.issuer).parse().unwrap();
        let form: HashMap<_, _> = form.query_pairs().into_owned().collect();
        let mut said = idp.said.lock().unwrap();
        let proof = base64url(&Sha256::digest(form["code_verifier"].as_bytes()));
        let good = proof == said.challenge
            && form["code"] == "the code"
            && headers.contains_key(header::AUTHORIZATION);
        said.asked.push(form);
        if !good {
            return (StatusCode::BAD_REQUEST, Json(json!({ "error": "invalid_grant" })));
        }
        let now = jiff::Timestamp::now().as_second();
        let mut claims = json!({
            "iss": idp.issuer, "aud": CLIENT, "iat": now, "exp": now + 60, "nonce": said.nonce,
        });
        let more = said.claims.as_object().unwrap().clone();
        claims.as_object_mut().unwrap().extend(more);
        let key = if said.forged { signing_key() } else { idp.key.clone() };
        let part = |value: Value| base64url(value.to_string().as_bytes());
        let header = part(json!({ "alg": "EdDSA", "kid": "key-1", "typ": "JWT" }));
        let signed = format!("{header}.{}", part(claims));
        let signature = key.sign(&CoreJwsSigningAlgorithm::EdDsa, signed.as_bytes()).unwrap();
        let token = format!("{signed}.{}", base64url(&signature));
        let answer = json!({ "access_token": "a", "token_type": "Bearer", "id_token": token });
        (StatusCode::OK, Json(answer))
    }

    fn config(&self) -> OidcConfig {
        OidcConfig::new(&self.issuer, CLIENT, "https://center.example")
            .secret(SECRET.to_owned().into())
            .role("ops", Role::Approver)
            .role("staff", Role::Viewer)
    }

    async fn house(&self) -> House {
        House::with(ServeConfig::new().oidc(self.config())).await
    }

    /// A login to its end; `change` has a hand in what the browser brings back.
    async fn login(
        &self,
        house: &House,
        claims: Value,
        change: impl FnOnce(&mut String, &mut String, &mut Said),
    ) -> Response {
        let begun = house.http.get(format!("{}/api/v1/oidc/login", house.url)).send().await;
        let begun = begun.unwrap();
        assert_eq!(begun.status(), StatusCode::SEE_OTHER);
        let to: Url = begun.headers()[header::LOCATION].to_str().unwrap().parse().unwrap();
        assert!(to.as_str().starts_with(&format!("{}/authorize?", self.issuer)), "{to}");
        let query: HashMap<_, _> = to.query_pairs().into_owned().collect();
        assert_eq!(query["response_type"], "code");
        assert_eq!(query["code_challenge_method"], "S256");
        assert_eq!(query["client_id"], CLIENT);
        assert_eq!(query["redirect_uri"], "https://center.example/api/v1/oidc/callback");
        assert!(query["scope"].split(' ').any(|scope| scope == "openid"));
        let cookie = begun.headers()[header::SET_COOKIE].to_str().unwrap();
        for word in ["Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
            assert!(cookie.contains(word), "{cookie}");
        }
        let mut cookie = cookie.split(';').next().unwrap().to_owned();
        let mut back = format!("code=the+code&state={}", query["state"]);
        {
            let mut said = self.said.lock().unwrap();
            let asked = std::mem::take(&mut said.asked);
            *said = Said {
                claims,
                challenge: query["code_challenge"].clone(),
                nonce: query["nonce"].clone(),
                asked,
                ..Said::default()
            };
            change(&mut back, &mut cookie, &mut said);
        }
        let url = format!("{}/api/v1/oidc/callback?{back}", house.url);
        house.http.get(url).header(header::COOKIE, cookie).send().await.unwrap()
    }
}

fn bob() -> Value {
    json!({ "sub": "b-1", "preferred_username": "Bob", "groups": ["staff", "ops"] })
}

/// The session of a login, and what the center says of it.
async fn session(house: &House, answer: &Response) -> (Credential, Value) {
    let cookies = answer.headers().get_all(header::SET_COOKIE).iter();
    let cookie = cookies
        .filter_map(|cookie| cookie.to_str().ok()?.split(';').next())
        .find(|cookie| cookie.starts_with("__Host-ascend-session=ascend"))
        .unwrap();
    let reading = Credential::Session { cookie: cookie.to_owned(), csrf: String::new() };
    let (status, who) = house.send(Method::GET, "/api/v1/session", &reading, None).await;
    assert_eq!(status, 200, "{who}");
    let csrf = who["csrf_token"].as_str().unwrap().to_owned();
    (Credential::Session { cookie: cookie.to_owned(), csrf }, who)
}

async fn who(house: &House, answer: &Response) -> Value {
    session(house, answer).await.1
}

#[tokio::test]
async fn a_company_logs_its_people_in() {
    let idp = Idp::start().await;
    let house = idp.house().await;
    let answer = idp.login(&house, bob(), |_, _, _| ()).await;
    assert_eq!(answer.status(), 200);
    let person = who(&house, &answer).await;
    assert_eq!((&person["name"], &person["role"]), (&json!("bob"), &json!("approver")));
    assert!(answer.text().await.unwrap().contains("url=/"), "a page of this site goes on");
    {
        let said = idp.said.lock().unwrap();
        assert_eq!(said.asked[0]["redirect_uri"], "https://center.example/api/v1/oidc/callback");
        assert!(!said.asked[0].values().any(|value| value == SECRET), "in the header alone");
    }
    let user = &house.center.users().await.unwrap()[0];
    assert!(user.name == "bob" && !user.has_password);

    // The role follows the groups, and the account the subject.
    let mut renamed = bob();
    renamed["preferred_username"] = "robert".into();
    renamed["groups"] = "staff".into();
    let answer = idp.login(&house, renamed, |_, _, _| ()).await;
    let person = who(&house, &answer).await;
    assert_eq!((&person["name"], &person["role"]), (&json!("bob"), &json!("viewer")));
    let changed = house.events(AuditKind::UserChanged).await;
    let changes = ["ops: group joined", "staff: group joined", "viewer: role", "ops: group left"];
    let told = changes.map(|change| ("identity provider".into(), format!("bob, {change}")));
    assert_eq!(changed, told);
    house.center.set_disabled(&house.owner, "bob", true).await.unwrap();
    assert_eq!(idp.login(&house, bob(), |_, _, _| ()).await.status(), 403);
}

#[tokio::test]
async fn who_has_no_role_any_more_keeps_nothing_that_had_one() {
    let idp = Idp::start().await;
    let house = idp.house().await;
    let answer = idp.login(&house, bob(), |_, _, _| ()).await;
    let (session, _) = session(&house, &answer).await;
    let token = house.center.create_token(&house.owner, "bob", "cli", DAY).await.unwrap();
    let token = Credential::Token(token.token.expose_secret().to_owned());
    let queue = async |credential: &Credential| {
        let path = "/api/v1/actions?status=pending";
        house.send(Method::GET, path, credential, None).await.0.as_u16()
    };
    assert_eq!((queue(&session).await, queue(&token).await), (200, 200));
    let mut nobody = bob();
    nobody["groups"] = json!(["strangers"]);
    assert_eq!(idp.login(&house, nobody, |_, _, _| ()).await.status(), 403);
    assert_eq!((queue(&session).await, queue(&token).await), (401, 401));
    assert_eq!(house.center.users().await.unwrap()[0].role, Role::Viewer);
    assert!(!house.events(AuditKind::CredentialRevoked).await.is_empty());
    // Back in the group, they are who they were.
    let answer = idp.login(&house, bob(), |_, _, _| ()).await;
    assert_eq!(who(&house, &answer).await["role"], "approver");
}

#[tokio::test]
async fn the_groups_of_a_login_say_who_may_vote() {
    const POLICIES: &str = r#"
@id("all")
permit (principal, action, resource);

@id("two-of-dba")
@decision("require_approval")
@approvers("dba")
@quorum("2")
forbid (principal, action, resource) when { context.verb == "delete" };
"#;
    let idp = Idp::start().await;
    let house = House::by(Some(POLICIES), ServeConfig::new().oidc(idp.config())).await;
    let agent = house.agent("billing").await;
    let id = house.pending(&agent).await;
    let login = async |name: &str, groups: &[&str]| {
        let claims = json!({ "sub": name, "preferred_username": name, "groups": groups });
        let answer = idp.login(&house, claims, |_, _, _| ()).await;
        assert_eq!(answer.status(), 200);
        session(&house, &answer).await.0
    };
    let approve = async |session: &Credential| {
        let path = format!("/api/v1/actions/{id}/approve");
        house.send(Method::POST, &path, session, Some(json!({}))).await
    };
    let stands = async || {
        let record = house.center.action(id).await.unwrap().unwrap();
        (record.state.as_str(), record.reviewed_by)
    };

    // An approver by their role, and in no group that is asked.
    let bob = login("bob", &["ops"]).await;
    let (status, answer) = approve(&bob).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("bob is in `ops`"), "{answer}");
    // The provider puts them into it.
    let bob = login("bob", &["ops", "dba"]).await;
    let (status, answer) = approve(&bob).await;
    assert_eq!((status, &answer["state"]), (StatusCode::OK, &json!("pending")), "{answer}");
    assert_eq!(answer["approvals"][0]["approved_by"], json!(["bob"]), "{answer}");
    // It takes them out again: with carol's there is one vote that counts.
    login("bob", &["ops"]).await;
    let carol = login("carol", &["ops", "dba"]).await;
    let (status, answer) = approve(&carol).await;
    assert_eq!((status, &answer["state"]), (StatusCode::OK, &json!("pending")), "{answer}");
    assert_eq!(answer["approvals"][0]["approved_by"], json!(["carol"]), "{answer}");
    // Back in it, they need not vote again.
    login("bob", &["ops", "dba"]).await;
    assert_eq!(stands().await, ("approved", Some("bob, carol".to_owned())));

    // A group without a role in it lets nobody approve.
    let id = house.pending(&agent).await;
    let vera = login("vera", &["staff", "dba"]).await;
    let path = format!("/api/v1/actions/{id}/approve");
    let (status, answer) = house.send(Method::POST, &path, &vera, Some(json!({}))).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    assert!(house.center.rules_without_people().await.unwrap().is_empty());
    login("carol", &["ops"]).await;
    let unmet = house.center.rules_without_people().await.unwrap();
    assert!(
        unmet[0].ends_with("asks for 2 of `dba`, in which there is one who may approve"),
        "{unmet:?}"
    );
}

#[tokio::test]
async fn nobody_takes_a_name_that_is_anothers() {
    let idp = Idp::start().await;
    let house = idp.house().await;
    house.person("bob", Role::Admin).await;
    for name in ["bob", "alice"] {
        let mut claims = bob();
        claims["preferred_username"] = name.into();
        let answer = idp.login(&house, claims, |_, _, _| ()).await;
        assert_eq!(answer.status(), 403, "{name}");
        assert!(!answer.headers().contains_key(header::SET_COOKIE));
    }
    assert_eq!(house.center.users().await.unwrap()[0].role, Role::Admin);
}

#[tokio::test]
async fn what_does_not_fit_logs_nobody_in() {
    type Change = fn(&mut String, &mut String, &mut Said);
    let idp = Idp::start().await;
    let house = idp.house().await;
    let changes: [(&str, u16, Change); 13] = [
        ("another state", 403, |back, _, _| *back = "code=the+code&state=x".to_owned()),
        ("no state", 403, |back, _, _| *back = "code=the+code".to_owned()),
        ("another browser", 403, |_, cookie, _| cookie.clear()),
        ("no code", 401, |back, _, _| {
            *back = format!("error=access_denied&{}", back.split_once('&').unwrap().1);
        }),
        ("another code", 401, |back, _, _| *back = back.replace("the+code", "a+guess")),
        ("another verifier", 401, |_, cookie, _| cookie.push('x')),
        ("another nonce", 401, |_, _, said| said.nonce = "replayed".to_owned()),
        ("another signer", 401, |_, _, said| said.forged = true),
        ("another audience", 401, |_, _, said| said.claims["aud"] = "others".into()),
        ("another issuer", 401, |_, _, said| said.claims["iss"] = "http://evil.example".into()),
        ("an old token", 401, |_, _, said| said.claims["exp"] = 1.into()),
        ("no group", 403, |_, _, said| said.claims["groups"] = json!(["others"])),
        ("no name", 401, |_, _, said| said.claims["preferred_username"] = "b\u{202e}b".into()),
    ];
    for (what, expected, change) in changes {
        let answer = idp.login(&house, bob(), change).await;
        assert_eq!(answer.status().as_u16(), expected, "{what}");
        assert!(!answer.headers().contains_key(header::SET_COOKIE), "{what}");
    }
    assert_eq!(house.center.users().await.unwrap(), []);
    assert_eq!(idp.login(&house, bob(), |_, _, _| ()).await.status(), 200, "and so it fits");
}

#[tokio::test]
async fn a_center_without_a_provider_has_no_such_login() {
    let house = House::new().await;
    for path in ["login", "callback?code=x&state=y"] {
        let path = format!("/api/v1/oidc/{path}");
        let (status, _) = house.send(reqwest::Method::GET, &path, &Credential::Nothing, None).await;
        assert_eq!(status, 404, "{path}");
    }
}
