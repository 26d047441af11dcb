//! The description of this API, made from its handlers.

use axum::{Json, Router, routing::get};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Content, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder,
        path::Operation,
        security::{
            ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
        },
    },
};
use utoipa_axum::router::OpenApiRouter;

use super::{
    Face,
    access::{self, Caller},
    auth::COOKIE,
    problem::ProblemAnswer,
};

/// Where the description is served.
const PATH: &str = "/openapi.json";

/// What any request may be answered with.
const PROBLEMS: [(&str, &str); 9] = [
    ("401", "The credential is missing or not known"),
    ("403", "The credential is for something else"),
    ("404", "There is none"),
    ("409", "It contradicts what is there"),
    ("413", "The body is too large"),
    ("422", "A field does not fit; `detail` names it"),
    ("429", "Too many requests; `Retry-After` says when to come back"),
    ("500", "The center failed; its log says why"),
    ("503", "The center's database cannot be reached; `Retry-After` says when to come back"),
];

/// The routes, and their description.
pub(super) fn described(routes: OpenApiRouter<Face>) -> (Router<Face>, OpenApi) {
    let (router, collected) = routes.split_for_parts();
    let info = InfoBuilder::new()
        .title("ascend-center")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("An authorization center with ASCEND's API"));
    let mut document = OpenApiBuilder::from(collected).info(info).build();

    let components = document.components.get_or_insert_default();
    let mut schemas = vec![(ProblemAnswer::name().into_owned(), ProblemAnswer::schema())];
    ProblemAnswer::schemas(&mut schemas);
    components.schemas.extend(schemas);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    let key = ApiKeyValue::new("X-API-Key");
    components.add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(key)));
    let cookie = ApiKeyValue::new(COOKIE);
    components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    let csrf = ApiKeyValue::new("X-CSRF-Token");
    components.add_security_scheme("csrf_token", SecurityScheme::ApiKey(ApiKey::Header(csrf)));

    for (path, item) in &mut document.paths.paths {
        let operations = [
            ("get", &mut item.get),
            ("post", &mut item.post),
            ("put", &mut item.put),
            ("delete", &mut item.delete),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                operation.operation_id = Some(name(method, path));
                operation.security = Some(security(method, path));
                add_problems(operation);
            }
        }
    }
    (router, document)
}

/// With which credentials an operation can be called, by the table of who may.
fn security(method: &str, path: &str) -> Vec<SecurityRequirement> {
    let bearer = || requirement(&["bearer"]);
    let key = || requirement(&["api_key"]);
    let session = || match method {
        "get" => requirement(&["session"]),
        _ => requirement(&["session", "csrf_token"]),
    };
    let rule = method.to_uppercase().parse().map(|method| access::rule(&method, path));
    match rule {
        Ok(Ok(Caller::Anyone)) => vec![requirement(&[]), bearer(), key()],
        Ok(Ok(Caller::Agent)) => vec![bearer(), key()],
        Ok(Ok(Caller::AgentOr(_))) => vec![bearer(), key(), session()],
        Ok(Ok(Caller::Person(_))) => vec![bearer(), session()],
        Ok(Ok(Caller::Session)) => vec![session()],
        #[cfg(feature = "page")]
        Ok(Ok(Caller::Page(_))) => vec![session()],
        // What is not in the table is answered to nobody.
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

/// All of them together.
fn requirement(schemes: &[&str]) -> SecurityRequirement {
    schemes.iter().fold(SecurityRequirement::default(), |all, scheme| {
        all.add::<_, [&str; 0], &str>(*scheme, [])
    })
}

/// Handlers of several families share a name; method and path are unique.
fn name(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

fn add_problems(operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        // OpenAPI requires one; the schema says the rest.
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            "Done".clone_into(&mut response.description);
        }
    }
    let schema = Ref::from_schema_name(ProblemAnswer::name());
    for (status, description) in PROBLEMS {
        let response = operation.responses.responses.entry(status.to_owned());
        let response = response
            .or_insert_with(|| RefOr::T(ResponseBuilder::new().description(description).build()));
        if let RefOr::T(response) = response {
            let content = Content::new(Some(schema.clone()));
            response.content.entry("application/json".to_owned()).or_insert(RefOr::T(content));
        }
    }
}

/// Adds the route that serves the description.
pub(super) fn serve(router: Router<Face>, document: OpenApi) -> Router<Face> {
    let document = std::sync::Arc::new(document);
    router.route(PATH, get(async move || Json(document.as_ref().clone())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// All quoted paths in axum's own list of a router's routes, but for those
    /// of its fallback.
    fn paths(router: &Router<Face>) -> BTreeSet<String> {
        let quoted = |router: &Router<Face>| -> BTreeSet<String> {
            let text = format!("{router:?}");
            let quoted = text.split('"').skip(1).step_by(2);
            quoted.filter(|text| text.starts_with('/')).map(str::to_owned).collect()
        };
        &quoted(router) - &quoted(&Router::new())
    }

    #[test]
    fn every_route_is_described() {
        let (router, document) = described(super::super::routes());
        let described: BTreeSet<String> = document.paths.paths.keys().cloned().collect();
        assert!(described.len() > 25, "{described:?}");
        assert_eq!(paths(&router), described);
        assert!(
            paths(&router.route("/undescribed", get(async || ()))).contains("/undescribed"),
            "this test sees routes that are not described"
        );
    }

    #[test]
    fn who_may_call_is_said_of_every_route() {
        let (_, document) = described(super::super::routes());
        let document = serde_json::to_value(&document).expect("JSON");
        let paths = document["paths"].as_object().expect("an object");
        let operations = paths.iter().flat_map(|(path, item)| {
            item.as_object().expect("one").keys().map(move |method| (path, method))
        });
        for (path, method) in operations {
            let name = method.to_uppercase().parse().expect("a method");
            assert!(access::rule(&name, path).is_ok(), "{method} {path}");
            let security = &paths[path][method]["security"];
            assert!(security.as_array().is_some_and(|any| !any.is_empty()), "{method} {path}");
        }
        let security = |path: &str, method: &str| paths[path][method]["security"].to_string();
        let session = r#"{"csrf_token":[],"session":[]}"#;
        assert_eq!(security("/health", "get"), r#"[{},{"bearer":[]},{"api_key":[]}]"#);
        let claim = security("/api/v1/actions/{id}/claim", "post");
        assert_eq!(claim, r#"[{"bearer":[]},{"api_key":[]}]"#);
        assert_eq!(security("/api/v1/keys", "post"), format!(r#"[{{"bearer":[]}},{session}]"#));
        assert_eq!(security("/api/v1/tokens", "post"), format!("[{session}]"));
        assert_eq!(security("/api/v1/tokens", "get"), r#"[{"session":[]}]"#);
        assert!(access::rule(&axum::http::Method::GET, PATH).is_ok());
    }

    #[test]
    fn what_a_request_may_hold_is_described_by_what_reads_it() {
        let (_, document) = described(super::super::routes());
        let document = serde_json::to_value(&document).expect("JSON");
        assert_eq!(document["openapi"], "3.1.0");
        let ok = &document["paths"]["/health"]["get"]["responses"]["200"];
        assert!(ok["description"].is_string(), "required by OpenAPI: {ok}");
        let items = document["paths"].as_object().expect("an object").values();
        let operations: Vec<_> = items.flat_map(|item| item.as_object().expect("one")).collect();
        let names: BTreeSet<_> =
            operations.iter().map(|(_, it)| it["operationId"].to_string()).collect();
        assert_eq!(names.len(), operations.len(), "{names:?}");
        let submit = &document["components"]["schemas"]["SubmitBody"];
        let required = submit["required"].as_array().expect("a list");
        for name in ["agent_id", "action_type", "resource"] {
            assert!(required.contains(&name.into()), "{name}: {submit}");
        }
        let context = &submit["properties"]["context"]["properties"];
        assert_eq!(context["require_human_approval"]["type"][0], "boolean", "{submit}");
        assert_eq!(context["session_id"]["type"][0], "string", "{submit}");
    }
}
