//! A served center, its page by HTTP, and actions to look at.

use ascend_center::Role;
use reqwest::{Method, Response, StatusCode, header, redirect::Policy};
use serde_json::{Value, json};

use crate::house::{Credential, House};

/// What would harm whoever shows it as it is.
pub(crate) const HOSTILE: &str = "<script>window.pwned=1</script><img src=x onerror=window.pwned=1>\
     \u{202e}gnp.exe\u{200b}\u{1b}[31mred\u{1b}[0m\u{2066}x\u{2069}\u{feff}";

/// What [`HOSTILE`] is to look like.
pub(crate) const SHOWN: &str = "<script>window.pwned=1</script><img src=x onerror=window.pwned=1>\
     \\u{202e}gnp.exe\\u{200b}\\u{1b}[31mred\\u{1b}[0m\\u{2066}x\\u{2069}\\u{feff}";

pub(crate) struct Site {
    pub(crate) house: House,
    pub(crate) key: String,
    http: reqwest::Client,
}

/// A person in a browser without a script.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) cookie: String,
    pub(crate) csrf: String,
}

/// An answer, read.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) location: Option<String>,
    pub(crate) headers: header::HeaderMap,
    pub(crate) text: String,
}

impl Site {
    pub(crate) async fn new() -> Self {
        let house =
            House::with(ascend_center::ServeConfig::new().agent_rate(0).tenant_rate(0)).await;
        for (name, role) in
            [("vera", Role::Viewer), ("paula", Role::Approver), ("ada", Role::Admin)]
        {
            house.person(name, role).await;
        }
        let key = house.agent("billing-agent").await;
        let http = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
        Self { house, key, http }
    }

    pub(crate) async fn person(&self, name: &str) -> Person {
        let Credential::Session { cookie, csrf } = self.house.session(name).await else {
            panic!("no session")
        };
        Person { cookie, csrf }
    }

    pub(crate) async fn get(&self, path: &str, person: Option<&Person>) -> Answer {
        let mut request = self.http.get(format!("{}{path}", self.house.url));
        if let Some(person) = person {
            request = request.header(header::COOKIE, &person.cookie);
        }
        answer(request.send().await.unwrap()).await
    }

    /// Sends a form as a browser does.
    pub(crate) async fn post(
        &self,
        path: &str,
        person: Option<&Person>,
        fields: &[(&str, &str)],
    ) -> Answer {
        self.post_from(&self.house.url, path, person, fields).await
    }

    pub(crate) async fn post_from(
        &self,
        origin: &str,
        path: &str,
        person: Option<&Person>,
        fields: &[(&str, &str)],
    ) -> Answer {
        let body: String =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut request = self
            .http
            .post(format!("{}{path}", self.house.url))
            .header(header::ORIGIN, origin)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        if let Some(person) = person {
            request = request.header(header::COOKIE, &person.cookie);
        }
        answer(request.send().await.unwrap()).await
    }

    /// Decides by the form on a card.
    pub(crate) async fn decide(&self, id: i64, person: &Person, decision: &str) -> Answer {
        let digest = self.house.center.action(id).await.unwrap().unwrap().digest.to_string();
        let fields = [
            ("csrf_token", person.csrf.as_str()),
            ("digest", &digest),
            ("decision", decision),
            ("comment", "looked at"),
        ];
        self.post(&format!("/actions/{id}/decide"), Some(person), &fields).await
    }

    /// A pending action.
    pub(crate) async fn ask(&self, body: Value) -> i64 {
        let mut call = json!({
            "server_id": "billing", "namespace": "database", "verb": "delete",
            "resource": "database://production/customers", "tool": "delete_records",
            "summary": "Delete customers", "parameters": { "query": "DELETE FROM customers" },
            "session_context": { "session_id": "session-1", "client_name": "claude", "client_version": "2.1" },
        });
        for (name, value) in body.as_object().unwrap() {
            call[name] = value.clone();
        }
        let key = Credential::Token(self.key.clone());
        let path = "/mcp/governance/evaluate";
        let (status, answer) = self.house.send(Method::POST, path, &key, Some(call)).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["decision"], "REQUIRE_APPROVAL", "{answer}");
        answer["action_id"].as_i64().unwrap()
    }
}

async fn answer(response: Response) -> Answer {
    let status = response.status();
    let headers = response.headers().clone();
    let location = headers.get(header::LOCATION).map(|place| place.to_str().unwrap().to_owned());
    Answer { status, location, headers, text: response.text().await.unwrap() }
}
