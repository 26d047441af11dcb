//! The API's own description, to check real requests and answers against.

use std::sync::OnceLock;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

pub(crate) struct Contract {
    document: Value,
}

/// Patterns are the same in every test of a process.
static DOCUMENT: OnceLock<Value> = OnceLock::new();

impl Contract {
    pub(crate) async fn fetch(http: &reqwest::Client, url: &str) -> Self {
        let answer = http.get(format!("{url}/openapi.json")).send().await.unwrap();
        let document: Value = answer.json().await.unwrap();
        assert_eq!(DOCUMENT.get_or_init(|| document.clone()), &document);
        Self { document }
    }

    /// Every path with every method that is described.
    pub(crate) fn operations(&self) -> Vec<(String, String)> {
        let paths = self.document["paths"].as_object().unwrap();
        let operations = paths.iter().flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()))
        });
        operations.collect()
    }

    /// Panics when this is not as described.
    pub(crate) fn check(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        status: StatusCode,
        answer: &Value,
    ) {
        let Some(operation) = self.find(method, path) else {
            let missing = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
            assert!(missing.contains(&status), "{method} {path} is served and not described");
            return;
        };
        let content = &operation["responses"][status.as_str()]["content"]["application/json"];
        assert!(content.is_object(), "{method} {path}: {status} is not described");
        self.validate(&content["schema"], answer, &format!("{method} {path} answers {status}"));
        let request = &operation["requestBody"]["content"]["application/json"]["schema"];
        if let Some(body) = body.filter(|_| status.is_success() && request.is_object()) {
            self.validate(request, body, &format!("{method} {path} takes"));
        }
    }

    fn find(&self, method: &Method, path: &str) -> Option<&Value> {
        let path = path.split('?').next().unwrap();
        let matches = |template: &str| {
            let (template, path) = (template.split('/'), path.split('/'));
            template.clone().count() == path.clone().count()
                && template.zip(path).all(|(part, given)| part == given || part.starts_with('{'))
        };
        let paths = self.document["paths"].as_object().unwrap();
        // A template without variables is the closer one.
        let item = paths
            .get(path)
            .or_else(|| paths.iter().find(|(template, _)| matches(template)).map(|(_, item)| item));
        item?.get(method.as_str().to_lowercase())
    }

    fn validate(&self, schema: &Value, instance: &Value, what: &str) {
        let mut schema = schema.clone();
        schema["components"] = self.document["components"].clone();
        let validator = jsonschema::validator_for(&schema).unwrap_or_else(|error| {
            panic!("{what} by a schema that is none: {error}");
        });
        let errors: Vec<_> = validator
            .iter_errors(instance)
            .map(|error| format!("{} at `{}`", error, error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{what} otherwise than described: {errors:#?}\n{instance:#}");
    }
}

#[test]
#[should_panic(expected = "otherwise than described")]
fn what_is_not_described_is_found() {
    let answer = json!({ "description": "", "content": { "application/json": { "schema": {
        "$ref": "#/components/schemas/A",
    } } } });
    let document = json!({
        "paths": { "/a/{id}": { "get": { "responses": { "200": answer } } } },
        "components": { "schemas": { "A": { "type": "object", "required": ["b"] } } },
    });
    let contract = Contract { document };
    contract.check(&Method::GET, "/a/1", None, StatusCode::OK, &json!({ "b": 1 }));
    contract.check(&Method::GET, "/a/1", None, StatusCode::OK, &json!({}));
}
