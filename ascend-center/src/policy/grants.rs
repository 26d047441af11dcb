//! Grants in Cedar's terms: each is a policy of its own, checked when it is given
//! and asked when its vote is missing.

use cedar_policy::{
    Decision, Expression, Policy, PolicyId, PolicySet, ValidationMode, ValidationWarning,
};

use super::{
    asked::Asked,
    engine::Engine,
    load::of_any_action,
    reads::{Read, reads},
    recent::Needs,
};
use crate::store::Granted;

/// The longest condition, in bytes.
const LONGEST: usize = 4096;

impl Engine {
    /// What is wrong with a grant, when anything is.
    pub(crate) fn check_grant(&self, granted: &Granted) -> Result<(), String> {
        let condition = granted.condition.as_deref().unwrap_or_default();
        if condition.len() > LONGEST {
            return Err(format!("it has more than {LONGEST} bytes"));
        }
        let policy = self.policy(granted)?;
        let json = policy.to_json().map_err(|error| error.to_string())?;
        let reads = reads(&json);
        if let Some(unknown) = self.tools.unknown(&reads).into_iter().next() {
            return Err(format!("{}; {}", unknown.message, unknown.help));
        }
        if !Needs::of(&json).counts_nothing() || reads.iter().any(Read::is_whole) {
            return Err(
                "a grant does not read `context.recent`, nor the whole `context`; say for \
                        how many calls it is"
                    .to_owned(),
            );
        }
        let mut set = PolicySet::new();
        set.add(policy).map_err(|error| error.to_string())?;
        let Some(validator) = &self.validator else {
            return Err("there are no policies in use to check it by".to_owned());
        };
        let result = validator.validate(&set, ValidationMode::Strict);
        if let Some(error) = result.validation_errors().next() {
            return Err(told(error));
        }
        // In a file that is a warning; here it is an approval that nobody has.
        let is_idle = |warning| matches!(warning, &ValidationWarning::ImpossiblePolicy(_));
        if result.validation_warnings().any(is_idle) {
            return Err("it holds of no call, whatever the call is".to_owned());
        }
        Ok(())
    }

    /// Which of the grants cover the call. What cannot be evaluated does not.
    pub(crate) fn covered(&self, asked: &Asked<'_>, granted: &[Granted]) -> Vec<i64> {
        let covers = |granted: &&Granted| match self.covers(asked, granted) {
            Ok(covers) => covers,
            Err(error) => {
                tracing::warn!(grant = granted.id, error, "a grant cannot be evaluated");
                false
            }
        };
        granted.iter().filter(covers).map(|granted| granted.id).collect()
    }

    fn covers(&self, asked: &Asked<'_>, granted: &Granted) -> Result<bool, String> {
        let policy = self.policy(granted)?;
        let needs = Needs::of(&policy.to_json().map_err(|error| error.to_string())?);
        if !needs.counts_nothing() {
            return Err("it reads `context.recent`, which is not counted for grants".to_owned());
        }
        let doing = self.doing(asked);
        let (request, entities) =
            self.request(asked, &doing, &needs).map_err(|error| error.to_string())?;
        let mut set = PolicySet::new();
        set.add(policy).map_err(|error| error.to_string())?;
        let response = self.authorizer.is_authorized(&request, &set, &entities);
        match response.diagnostics().errors().next() {
            Some(error) => Err(error.to_string()),
            None => Ok(response.decision() == Decision::Allow),
        }
    }

    fn policy(&self, granted: &Granted) -> Result<Policy, String> {
        let mut text = format!(
            "permit (principal, action, resource) when {{ resource.uri like \"{}\" }}",
            pattern(&granted.resource)
        );
        if let Some(condition) = &granted.condition {
            // One expression: what closes a brace could say something else.
            if let Err(error) = condition.parse::<Expression>() {
                return Err(told(&error));
            }
            // What the grant names need not be asked for with `has`.
            if let Some(tool) = granted.tool.as_ref().filter(|tool| self.tools.knows(tool)) {
                text.push_str(&format!(" when {{ context.arguments has \"{}\" }}", quoted(tool)));
            }
            // After a comment too, the brace closes.
            text.push_str(&format!(" when {{ {condition}\n}}"));
        }
        text.push(';');
        let id = PolicyId::new(format!("grant-{}", granted.id));
        Policy::parse(Some(id), text).map_err(|error| told(&error))
    }
}

/// A mistake, and the help that Cedar knows.
fn told(error: &impl miette::Diagnostic) -> String {
    let text = error.to_string();
    let text = match text.split_once(", ") {
        Some((start, rest)) if start.starts_with("for policy `") => rest,
        _ => &text,
    };
    let text = of_any_action(text);
    let label = error.labels().and_then(|mut labels| labels.next());
    let label = label.as_ref().and_then(|label| label.label());
    let label = label.filter(|label| !text.contains(label)).map(|label| format!(": {label}"));
    let help = error.help().map(|help| format!("; {help}"));
    format!("{text}{}{}", label.unwrap_or_default(), help.unwrap_or_default())
}

/// Cedar's pattern: `*` stands for anything, `\*` and `\\` for themselves.
fn pattern(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '*' => out.push('*'),
            '\\' => match characters.next_if(|next| matches!(next, '*' | '\\')) {
                Some('*') => out.push_str(r"\*"),
                _ => out.push_str(r"\\"),
            },
            other => push(&mut out, other),
        }
    }
    out
}

/// Between the quotes of a text.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|character| push(&mut out, character));
    out
}

fn push(out: &mut String, character: char) {
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str(r"\\"),
        character if character.is_control() => {
            out.push_str(&format!("\\u{{{:x}}}", u32::from(character)));
        }
        character => out.push(character),
    }
}

#[cfg(test)]
mod tests;
