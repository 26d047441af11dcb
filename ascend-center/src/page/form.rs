//! What a form sends, and where the browser goes then.

use axum::{
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::Uri,
};

use super::{Problem, Refused};
use crate::http::{Body, Face, fields::WITHOUT_NUL};

/// The fields of a form, as they were sent.
#[derive(Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// The field, when it is there once.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let mut found = self.0.iter().filter(|(known, _)| known == name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// The field without the blanks around it, unless nothing is left.
    pub(super) fn filled(&self, name: &str) -> Option<&str> {
        self.text(name).map(str::trim).filter(|text| !text.is_empty())
    }

    /// The field, which must be filled in.
    pub(super) fn needed(&self, name: &str) -> Result<&str, Refused> {
        self.filled(name)
            .ok_or_else(|| Refused(Problem::invalid("body", name, "something here", "missing")))
    }
}

impl FromRequest<Face> for Form {
    type Rejection = Refused;

    async fn from_request(request: Request, face: &Face) -> Result<Self, Refused> {
        let body = Body::from_request(request, face).await;
        let body = body.unwrap_or_else(|never| match never {});
        let form = Self::parse(&body.map_err(|error: BytesRejection| Refused(error.into()))?);
        match form.0.iter().find(|(_, value)| value.contains('\0')) {
            None => Ok(form),
            Some((name, _)) => {
                Err(Refused(Problem::invalid("body", name, WITHOUT_NUL, "value_error")))
            }
        }
    }
}

/// A path of this center's page to go on to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Next(String);

impl Next {
    /// Where `path` leads within this center; elsewhere, and to what no page of
    /// ours links, it leads to the queue.
    pub(super) fn to(path: &str) -> Self {
        // Browsers take `//` and `/\` for the start of another host.
        let own = path.starts_with('/')
            && !path[1..].starts_with(['/', '\\'])
            && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
            && path.len() <= 2000
            && path.parse::<Uri>().is_ok_and(|uri| uri.host().is_none());
        let login = ["/login", "/logout", "/api/", "/queue/"];
        let stays = login.iter().any(|start| path.starts_with(start));
        Self(if own && !stays && path != "/" { path.to_owned() } else { "/queue".to_owned() })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The login's address that comes back here.
    pub(super) fn to_login(&self) -> String {
        if self.0 == "/queue" {
            return "/login".to_owned();
        }
        let query: String =
            form_urlencoded::Serializer::new(String::new()).append_pair("next", &self.0).finish();
        format!("/login?{query}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_on_stays_within_the_center() {
        for own in ["/queue", "/actions/7", "/history?q=a%20b&before=7"] {
            assert_eq!(Next::to(own).as_str(), own);
        }
        for other in [
            "",
            "queue",
            "//evil.example",
            "/\\evil.example",
            "/a\\b",
            "https://evil.example/",
            "javascript:alert(1)",
            "/\u{9}/evil.example",
            "/a b",
            "/login?next=/login",
            "/queue/events",
        ] {
            assert_eq!(Next::to(other).as_str(), "/queue", "{other:?}");
        }
        assert_eq!(Next::to("/history?q=a").to_login(), "/login?next=%2Fhistory%3Fq%3Da");
    }

    #[test]
    fn a_field_that_comes_twice_is_none() {
        let form = Form::parse(b"a=1&b=%20x+y&a=2&c=+");
        assert_eq!((form.text("a"), form.text("b"), form.filled("c")), (None, Some(" x y"), None));
        assert_eq!(form.filled("b"), Some("x y"));
    }
}
