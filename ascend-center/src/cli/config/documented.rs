//! The settings as they are described: in the file that `init` writes, and in
//! the docs.

use clap::{Arg, ArgAction};

use super::{command, file::Kind, settings::SECRETS};

/// A setting as it is described.
pub(crate) struct Documented {
    pub(crate) name: String,
    pub(crate) variable: String,
    pub(crate) help: String,
    /// A value as the file has it: the default, where there is one.
    pub(crate) example: String,
    pub(crate) is_secret: bool,
}

/// Every setting, in the order of the help.
pub(crate) fn documented() -> Vec<Documented> {
    command().get_arguments().map(described).collect()
}

fn described(argument: &Arg) -> Documented {
    let name = argument.get_id().to_string();
    let default: Vec<_> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let default = (!default.is_empty()).then(|| default.join(","));
    let placeholder = || argument.get_value_names().map_or("…", |names| names[0].as_str());
    let value = default.unwrap_or_else(|| placeholder().to_owned());
    let value = match Kind::of(argument) {
        Kind::Number | Kind::Bool => value,
        Kind::Text | Kind::Path => format!("\"{value}\""),
    };
    let is_list = matches!(argument.get_action(), ArgAction::Append);
    Documented {
        variable: argument
            .get_env()
            .map_or_else(String::new, |variable| variable.to_string_lossy().into_owned()),
        help: argument.get_help().map_or_else(String::new, ToString::to_string),
        example: if is_list { format!("[{value}]") } else { value },
        is_secret: SECRETS.contains(&name.as_str()),
        name,
    }
}
