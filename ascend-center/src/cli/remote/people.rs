//! Agents' keys, people and their tokens of a center elsewhere.

use std::time::Duration;

use ascend_center::{AgentKey, Role, User, UserToken};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{Remote, RemoteError, read};
use crate::{desk::Secret, keys::Terms};

impl Remote {
    pub(crate) async fn keys(&self) -> Result<Vec<AgentKey>, RemoteError> {
        read(self.send(Method::GET, "api/v1/keys", None).await?["keys"].take())
    }

    pub(crate) async fn create_key(&self, terms: &Terms) -> Result<Secret, RemoteError> {
        issued(self.send(Method::POST, "api/v1/keys", Some(terms.to_json())).await?)
    }

    pub(crate) async fn revoke_key(&self, id: i64) -> Result<bool, RemoteError> {
        self.revoke(&format!("api/v1/keys/{id}")).await
    }

    pub(crate) async fn rotate_key(&self, id: i64, grace: Duration) -> Result<Secret, RemoteError> {
        let body = json!({ "grace_seconds": grace.as_secs_f64() });
        issued(self.send(Method::POST, &format!("api/v1/keys/{id}/rotate"), Some(body)).await?)
    }

    pub(crate) async fn users(&self) -> Result<Vec<User>, RemoteError> {
        read(self.send(Method::GET, "api/v1/users", None).await?["users"].take())
    }

    pub(crate) async fn create_user(
        &self,
        name: &str,
        role: Role,
        password: Option<SecretString>,
    ) -> Result<(), RemoteError> {
        let password = password.as_ref().map(ExposeSecret::expose_secret);
        let body = json!({ "name": name, "role": role, "password": password });
        self.send(Method::POST, "api/v1/users", Some(body)).await.map(drop)
    }

    pub(crate) async fn set_role(&self, name: &str, role: Role) -> Result<(), RemoteError> {
        let body = json!({ "role": role });
        self.send(Method::PUT, &of_user(name, "role"), Some(body)).await.map(drop)
    }

    pub(crate) async fn set_password(
        &self,
        name: &str,
        password: &SecretString,
    ) -> Result<(), RemoteError> {
        let body = json!({ "password": password.expose_secret() });
        self.send(Method::PUT, &of_user(name, "password"), Some(body)).await.map(drop)
    }

    pub(crate) async fn set_disabled(&self, name: &str, disabled: bool) -> Result<(), RemoteError> {
        let verb = if disabled { "disable" } else { "enable" };
        self.send(Method::POST, &of_user(name, verb), None).await.map(drop)
    }

    pub(crate) async fn set_member(
        &self,
        name: &str,
        group: &str,
        is_member: bool,
    ) -> Result<bool, RemoteError> {
        let method = if is_member { Method::PUT } else { Method::DELETE };
        let path = of_user(name, &format!("groups/{}", segment(group)));
        read(self.send(method, &path, None).await?["changed"].take())
    }

    pub(crate) async fn tokens(&self) -> Result<Vec<UserToken>, RemoteError> {
        read(self.send(Method::GET, "api/v1/user-tokens", None).await?["tokens"].take())
    }

    pub(crate) async fn create_token(
        &self,
        user: &str,
        name: &str,
        lifetime: Duration,
    ) -> Result<Secret, RemoteError> {
        let lifetime = lifetime.as_secs_f64();
        let body = json!({ "user": user, "name": name, "lifetime_seconds": lifetime });
        issued(self.send(Method::POST, "api/v1/user-tokens", Some(body)).await?)
    }

    pub(crate) async fn revoke_token(&self, id: i64) -> Result<bool, RemoteError> {
        self.revoke(&format!("api/v1/user-tokens/{id}")).await
    }
}

fn issued(mut answer: Value) -> Result<Secret, RemoteError> {
    let token: String = read(answer["token"].take())?;
    Ok(Secret { id: read(answer["id"].take())?, token: token.into() })
}

fn of_user(name: &str, what: &str) -> String {
    format!("api/v1/users/{}/{what}", segment(name))
}

/// A part of a path, whatever stands in it.
fn segment(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
