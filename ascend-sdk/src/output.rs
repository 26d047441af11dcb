//! What a tool returns.

use std::fmt::Display;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::Refusal;

/// A piece of a result that is no JSON value: MCP's content blocks.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ContentBlock {
    /// Text.
    Text(String),
    /// An image.
    Image {
        /// The file's bytes.
        data: Vec<u8>,
        /// Such as `image/png`.
        mime_type: String,
    },
    /// A sound.
    Audio {
        /// The file's bytes.
        data: Vec<u8>,
        /// Such as `audio/wav`.
        mime_type: String,
    },
    /// A link to something that the client may read.
    ResourceLink {
        /// Where it is.
        uri: String,
        /// Its name.
        name: String,
        /// Such as `text/csv`.
        mime_type: Option<String>,
    },
    /// A resource, with what it holds: there is nothing left to read.
    Resource {
        /// Where it is, or would be.
        uri: String,
        /// Such as `text/csv`.
        mime_type: Option<String>,
        /// What it holds.
        contents: ResourceContents,
    },
}

/// What a resource holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceContents {
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// The way out for results that are not a JSON value: text, images, sounds,
/// links, resources. A tool that returns it has no output schema.
///
/// ```
/// use ascend_sdk::Content;
/// let content = Content::text("a chart").and_image(vec![0x89, b'P', b'N', b'G'], "image/png");
/// assert_eq!(content.blocks().len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Content(Vec<ContentBlock>);

impl Content {
    /// One text.
    pub fn text(text: impl Into<String>) -> Self {
        Self(vec![ContentBlock::Text(text.into())])
    }

    /// The blocks as given.
    pub fn new(blocks: impl IntoIterator<Item = ContentBlock>) -> Self {
        Self(blocks.into_iter().collect())
    }

    /// Adds an image.
    #[must_use]
    pub fn and_image(mut self, data: Vec<u8>, mime_type: impl Into<String>) -> Self {
        self.0.push(ContentBlock::Image { data, mime_type: mime_type.into() });
        self
    }

    /// Adds a link.
    #[must_use]
    pub fn and_resource_link(mut self, uri: impl Into<String>, name: impl Into<String>) -> Self {
        self.0.push(ContentBlock::ResourceLink {
            uri: uri.into(),
            name: name.into(),
            mime_type: None,
        });
        self
    }

    /// Adds a resource with what it holds.
    #[must_use]
    pub fn and_resource(
        mut self,
        uri: impl Into<String>,
        mime_type: impl Into<String>,
        contents: ResourceContents,
    ) -> Self {
        self.0.push(ContentBlock::Resource {
            uri: uri.into(),
            mime_type: Some(mime_type.into()),
            contents,
        });
        self
    }

    /// The blocks.
    #[must_use]
    pub fn blocks(&self) -> &[ContentBlock] {
        &self.0
    }
}

/// A result as the protocol carries it.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rendered {
    pub blocks: Vec<ContentBlock>,
    pub structured: Option<Value>,
}

/// What a governed tool may return: any `Serialize + JsonSchema` type, which
/// gives the tool an output schema and structured content, or [`Content`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned by a governed tool",
    label = "not a tool's output",
    note = "derive what a caller needs to read it: `#[derive(serde::Serialize, schemars::JsonSchema)]`",
    note = "or return `ascend_sdk::Content` for text, images and links"
)]
pub trait ToolOutput: Sized + Send + 'static {
    /// The JSON Schema of the structured content; `None` when there is none.
    #[must_use]
    fn output_schema() -> Option<Map<String, Value>>;

    #[doc(hidden)]
    fn render(self) -> Result<Rendered, serde_json::Error>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + JsonSchema + Send + 'static> ToolOutput for T {
    fn output_schema() -> Option<Map<String, Value>> {
        let schema = schema_settings().for_serialize().into_generator().into_root_schema_for::<T>();
        let schema = plain_schema(schema)?;
        (schema.get("type") != Some(&Value::from("null"))).then_some(schema)
    }

    fn render(self) -> Result<Rendered, serde_json::Error> {
        Ok(match serde_json::to_value(self)? {
            Value::Null => Rendered::default(),
            Value::String(text) => Rendered {
                blocks: vec![ContentBlock::Text(text.clone())],
                structured: Some(Value::String(text)),
            },
            value => Rendered {
                blocks: vec![ContentBlock::Text(value.to_string())],
                structured: Some(value),
            },
        })
    }
}

impl ToolOutput for Content {
    fn output_schema() -> Option<Map<String, Value>> {
        None
    }

    fn render(self) -> Result<Rendered, serde_json::Error> {
        Ok(Rendered { blocks: self.0, structured: None })
    }
}

/// Without a `$schema` of its own: 2020-12 is what MCP takes a schema for that
/// names none, and one that a type names itself stays.
pub(crate) fn schema_settings() -> SchemaSettings {
    SchemaSettings::draft2020_12().with(|settings| settings.meta_schema = None)
}

/// A schema without what only names it: the Rust type's title, and formats such as `uint64`, of which JSON Schema knows nothing and clients
/// complain.
pub(crate) fn plain_schema(mut schema: schemars::Schema) -> Option<Map<String, Value>> {
    drop_number_format(&mut schema);
    let Value::Object(mut schema) = schema.to_value() else { return None };
    schema.remove("title");
    Some(schema)
}

fn drop_number_format(schema: &mut schemars::Schema) {
    schemars::transform::transform_subschemas(&mut drop_number_format, schema);
    let of_a_number = schema.get("format").and_then(Value::as_str).is_some_and(|format| {
        matches!(format, "float" | "double")
            || format.trim_start_matches('u').trim_end_matches(|c: char| c.is_ascii_digit())
                == "int"
    });
    if of_a_number {
        schema.remove("format");
    }
}

/// The return type of anything governed: it can say that the call was refused.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot say that a governed call was refused",
    label = "not `Result<T, E>`",
    note = "write `Result<{Self}, E>` where `E: From<ascend_sdk::Refusal> + std::fmt::Display`"
)]
pub trait GovernedReturn: Sized {
    /// The value that says so.
    #[must_use]
    fn from_refusal(refusal: Refusal) -> Self;

    /// The error's text, when the body failed.
    fn failure(&self) -> Option<String>;

    /// The value with the governance object of its call, where it has room for it.
    #[must_use]
    fn with_governance(self, _governance: impl FnOnce() -> Value) -> Self {
        self
    }
}

/// The error of anything governed: it takes a refusal.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot say that a governed call was refused",
    label = "an error that takes no refusal",
    note = "it must be `From<ascend_sdk::Refusal>` and `std::fmt::Display`",
    note = "with thiserror: a variant `#[error(transparent)] Refused(#[from] ascend_sdk::Refusal)`"
)]
pub trait ToolError: From<Refusal> + Display {}

#[diagnostic::do_not_recommend]
impl<E: From<Refusal> + Display> ToolError for E {}

impl<T, E: ToolError> GovernedReturn for Result<T, E> {
    fn from_refusal(refusal: Refusal) -> Self {
        Err(refusal.into())
    }

    fn failure(&self) -> Option<String> {
        self.as_ref().err().map(ToString::to_string)
    }
}

/// The return type of a governed tool: `Result<T, E>` with `T` a
/// [`ToolOutput`] and `E` a [`ToolError`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the return type of a governed tool",
    label = "not `Result<T, E>`",
    note = "write `Result<{Self}, E>` where `E: From<ascend_sdk::Refusal> + std::fmt::Display`"
)]
pub trait ToolReturn: GovernedReturn + Send + 'static {
    /// See [`ToolOutput::output_schema`].
    #[must_use]
    fn output_schema() -> Option<Map<String, Value>>;

    #[doc(hidden)]
    fn render(self) -> Result<Rendered, String>;
}

impl<T: ToolOutput, E: ToolError + Send + 'static> ToolReturn for Result<T, E> {
    fn output_schema() -> Option<Map<String, Value>> {
        T::output_schema()
    }

    fn render(self) -> Result<Rendered, String> {
        match self {
            Ok(value) => value
                .render()
                .map_err(|error| format!("the tool ran, but its result is not JSON: {error}")),
            Err(error) => Err(error.to_string()),
        }
    }
}
