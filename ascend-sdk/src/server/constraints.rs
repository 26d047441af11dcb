//! What a tool's schema asks of arguments beside their types: ranges, lengths,
//! patterns.

use jsonschema::{Validator, error::ValidationErrorKind};
use serde_json::{Map, Value};

use crate::{Route, ToolSpec};

/// A tool's input schema, ready to check arguments against.
#[derive(Debug)]
pub(crate) struct Constraints(Option<Validator>);

impl Constraints {
    pub(crate) fn of(route: &Route) -> Self {
        let schema = Value::Object(route.input_schema());
        let validator = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .build(&schema)
            .inspect_err(|error| {
                // Such as a pattern that is none: what it asks cannot be checked,
                // so nothing passes it.
                tracing::error!(tool = route.spec().name, %error, "the tool's schema has a mistake");
            });
        Self(validator.ok())
    }

    /// The arguments as they came, or the first thing that is wrong with them,
    /// without the value of a sensitive one.
    pub(crate) fn check(
        &self,
        spec: &ToolSpec,
        arguments: Map<String, Value>,
    ) -> Result<Map<String, Value>, String> {
        // The validator takes a whole value; arguments can be large, so they are
        // moved there and back, not copied.
        let arguments = Value::Object(arguments);
        match (self.fault(spec, &arguments), arguments) {
            (None, Value::Object(arguments)) => Ok(arguments),
            (fault, _) => Err(fault.unwrap_or_default()),
        }
    }

    fn fault(&self, spec: &ToolSpec, arguments: &Value) -> Option<String> {
        let Some(validator) = &self.0 else {
            return Some("the tool's own schema has a mistake, so no arguments fit it".to_owned());
        };
        // What is missing or of another type is told better where the arguments are
        // read. What has another name there than in the schema would pass unchecked.
        let error = validator.iter_errors(arguments).find(|error| {
            !matches!(
                error.kind(),
                ValidationErrorKind::Required { .. } | ValidationErrorKind::Type { .. }
            )
        })?;
        let path = error.instance_path().as_str().trim_start_matches('/');
        // RFC 6901, section 4.
        let field = path.split('/').next().unwrap_or_default();
        let field = field.replace("~1", "/").replace("~0", "~");
        let path = path.replace('/', ".");
        let what = if spec.is_sensitive(&field) || path.is_empty() && has_secret(spec) {
            error.masked_with("the value").to_string()
        } else {
            error.to_string()
        };
        Some(if path.is_empty() { what } else { format!("`{path}`: {what}") })
    }
}

/// A fault of the whole object is told with all of it.
fn has_secret(spec: &ToolSpec) -> bool {
    spec.parameters.iter().any(|parameter| parameter.sensitive)
}
