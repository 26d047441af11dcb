//! Reads policy files: parse, lint the annotations, validate against the schema.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
};

use cedar_policy::{
    EntityUid, Policy, PolicyId, PolicySet, Schema, SchemaFragment, ValidationMode, Validator,
};
use serde_json::json;

use super::{
    annotations::{About, annotation_at, lint},
    clauses,
    parts::names_values,
    problem::{PolicyError, Problem, Source, nearest},
    reads::reads,
    recent::Needs,
    tools::{ToolSchema, ToolTypes},
};
use crate::audit::EntryHash;

/// The policies that are used where none are given.
pub(super) const DEFAULT_POLICIES: &str = include_str!("../../policies/default.cedar");
/// The schema that is used where none is given.
pub(super) const DEFAULT_SCHEMA: &str = include_str!("../../policies/schema.cedarschema");
/// The schema's name in a folder of policies.
pub(super) const SCHEMA_FILE: &str = "schema.cedarschema";
/// The name of a file of tools in a folder of policies.
pub(super) const TOOLS_FILE: &str = "tools.json";

/// A policy that has passed every check.
#[derive(Debug)]
pub(super) struct CheckedPolicy {
    pub(super) policy: Policy,
    pub(super) about: About,
    /// As it is written, annotations included.
    pub(super) text: String,
    pub(super) needs: Needs,
}

/// A policy set that has passed every check.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) policies: Vec<CheckedPolicy>,
    /// The declared actions by their ids, with all that they are in.
    pub(super) actions: HashMap<String, HashSet<EntityUid>>,
    pub(super) tools: ToolTypes,
    /// By the schema; `None` where there is none.
    pub(super) validator: Option<Validator>,
    /// What looks like a mistake but is not certainly one.
    pub(super) warnings: Vec<Problem>,
    /// Which files they come from.
    pub(super) hash: EntryHash,
}

/// What a policy set's hash is for.
const HASHED: &str = "policy set v1";

/// The files of a policy set.
#[derive(Debug, Clone)]
pub(super) struct Files {
    schema: Source,
    policies: Vec<Source>,
    tools: Vec<ToolSchema>,
}

impl Files {
    pub(super) fn built_in() -> Self {
        let source = |file: &str, text: &str| Source {
            file: PathBuf::from(format!("<built in>/{file}")),
            text: text.to_owned(),
        };
        Self {
            schema: source(SCHEMA_FILE, DEFAULT_SCHEMA),
            policies: vec![source("default.cedar", DEFAULT_POLICIES)],
            tools: Vec::new(),
        }
    }

    /// A hash of the schema's text, of each file's name and text, and of the tools.
    fn hash(&self) -> EntryHash {
        let named = |source: &Source| {
            let name = source.file.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        let tools: Vec<String> = self.tools.iter().map(|tool| json!(tool).to_string()).collect();
        let names: Vec<String> = self.policies.iter().map(named).collect();
        let files = names.iter().zip(&self.policies);
        let parts = files.flat_map(|(name, source)| [Some(name.as_str()), Some(&source.text)]);
        let tools = tools.iter().flat_map(|tool| [None, Some(tool.as_str())]);
        let schema = [Some(self.schema.text.as_str())];
        EntryHash::of(HASHED, schema.into_iter().chain(parts).chain(tools))
    }

    /// The same where there are no files.
    pub(super) fn hash_of_none() -> EntryHash {
        EntryHash::of(HASHED, [])
    }

    /// All `*.cedar` of a folder, by name, and its schema; or one `.cedar` file
    /// with the schema beside it. Without a schema, the built-in one.
    pub(super) fn read(path: &Path) -> Result<Self, PolicyError> {
        let unreadable = |error: std::io::Error| Problem::unreadable(path.to_owned(), &error);
        let is_folder = path.metadata().map_err(unreadable)?.is_dir();
        let (folder, files) = if is_folder {
            (path, policy_files(path).map_err(unreadable)?)
        } else {
            (path.parent().unwrap_or(Path::new(".")), vec![path.to_owned()])
        };
        if files.is_empty() {
            return Err(PolicyError {
                problems: vec![Problem {
                    file: path.to_owned(),
                    line: 0,
                    column: 0,
                    message: "there is no policy file, so everything would be denied".to_owned(),
                    help: Some("write policies in files that end in `.cedar`".to_owned()),
                }],
            });
        }
        let schema = folder.join(SCHEMA_FILE);
        let schema = match Source::read(schema.clone()) {
            Ok(source) => source,
            Err(_) if !schema.exists() => Self::built_in().schema,
            Err(problem) => return Err(problem.into()),
        };
        let policies = files.into_iter().map(Source::read).collect::<Result<_, _>>()?;
        let tools = folder.join(TOOLS_FILE);
        let tools = if tools.exists() { ToolSchema::read(&tools)? } else { Vec::new() };
        Ok(Self { schema, policies, tools })
    }

    pub(super) fn add_tools(&mut self, tools: impl IntoIterator<Item = ToolSchema>) {
        self.tools.extend(tools);
    }

    /// The schema, with the types of the tools.
    fn schema(&self) -> Result<(Schema, ToolTypes), PolicyError> {
        let written = match SchemaFragment::from_cedarschema_str(&self.schema.text) {
            Ok((fragment, _)) => fragment,
            Err(error) => return Err(self.schema.diagnosed(&error).into()),
        };
        let tools = ToolTypes::of(&self.tools).map_err(|name| {
            let message = format!("two tools are named `{name}`, and take other arguments");
            self.schema.problem_of_all(message)
        })?;
        let failed = |error| self.schema.diagnosed(&error);
        let of_tools = SchemaFragment::from_json_value(tools.schema()).map_err(failed)?;
        let schema = Schema::from_schema_fragments([written, of_tools]).map_err(failed)?;
        Ok((schema, tools))
    }

    pub(super) fn check(&self) -> Result<Checked, PolicyError> {
        let mut problems = Vec::new();
        let (schema, tools) = self.schema()?;
        let actions = declared_actions(&schema);
        let validator = Validator::new(schema);

        let mut policies = Vec::new();
        let mut warnings = Vec::new();
        let mut places: BTreeMap<String, Problem> = BTreeMap::new();
        for source in &self.policies {
            // So it looks while it is being written, and its policies must not
            // be gone meanwhile.
            if source.text.trim().is_empty() {
                let problem = source.problem_of_all("the file is empty");
                problems.push(problem.with_help("write a policy, or remove the file"));
                continue;
            }
            let set: PolicySet = match source.text.parse() {
                Ok(set) => set,
                Err(errors) => {
                    let errors: cedar_policy::ParseErrors = errors;
                    problems.extend(errors.iter().map(|error| source.diagnosed(error)));
                    continue;
                }
            };
            let validation = validator.validate(&set, ValidationMode::Strict);
            let misnamed = misnamed(source, &set, &tools);
            problems.extend(
                validation
                    .validation_errors()
                    // Of a tool's argument that is not there, we know more.
                    .filter(|error| !misnamed.contains_key(error.policy_id()))
                    .map(|error| {
                        let problem = of_the_place(source.diagnosed(error), error.policy_id());
                        with_what_was_meant(problem, error, actions.keys())
                    }),
            );
            problems.extend(misnamed.into_values().flatten());
            warnings.extend(
                validation
                    .validation_warnings()
                    .map(|warning| of_the_place(source.diagnosed(warning), warning.policy_id())),
            );
            for template in set.templates() {
                let at = source.text.find("?principal").or_else(|| source.text.find("?resource"));
                let message = format!("policy `{}` is a template", template.id());
                problems.push(
                    source
                        .problem(at.unwrap_or_default(), message)
                        .with_help("write the entity instead of `?principal` or `?resource`"),
                );
            }
            let mut in_order: Vec<(usize, &Policy)> =
                set.policies().map(|policy| (start_of(policy), policy)).collect();
            in_order.sort_by_key(|(start, _)| *start);
            for (start, policy) in in_order {
                let about = match lint(source, start, policy) {
                    Ok(about) => about,
                    Err(found) => {
                        problems.extend(found);
                        continue;
                    }
                };
                let here = source.problem(
                    annotation_at(source, start, "id"),
                    format!("`@id(\"{}\")` is given twice", about.id),
                );
                if let Some(first) = places.get(&about.id) {
                    let first = format!("{}:{}", first.file.display(), first.line);
                    problems.push(here.with_help(format!("the first is at {first}")));
                    continue;
                }
                places.insert(about.id.clone(), here);
                let text = source.text.get(start..end_of(policy)).unwrap_or_default().to_owned();
                let json = policy.to_json();
                if json.as_ref().is_ok_and(names_values) {
                    // What nobody reads of the context is not made, and a tag of what is
                    // not there is simply not there.
                    let message = "a policy cannot name `Texts`, `Numbers` or `Flags` by an id";
                    let help = "write where they stand, such as `context.user` or `context.number`";
                    problems.push(source.problem(start, message).with_help(help));
                    continue;
                }
                let needs = json.map_or_else(|_| Needs::everything(), |json| Needs::of(&json));
                let policy = policy.new_id(PolicyId::new(&about.id));
                policies.push(CheckedPolicy { policy, about, text, needs });
            }
        }
        if problems.is_empty() {
            let (warnings, hash) = (in_order(warnings), self.hash());
            Ok(Checked { policies, actions, tools, validator: Some(validator), warnings, hash })
        } else {
            Err(PolicyError { problems: in_order(problems) })
        }
    }
}

/// The `*.cedar` files of a folder, by name.
pub(super) fn policy_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "cedar") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The policies that name a tool, or an argument of one, that is not there.
fn misnamed(
    source: &Source,
    set: &PolicySet,
    tools: &ToolTypes,
) -> HashMap<PolicyId, Vec<Problem>> {
    let mut misnamed = HashMap::new();
    for policy in set.policies() {
        let Ok(json) = policy.to_json() else { continue };
        let (start, end) = (start_of(policy), end_of(policy));
        let text = source.text.get(start..end).unwrap_or_default();
        let problems: Vec<Problem> = tools
            .unknown(&reads(&json))
            .into_iter()
            .map(|unknown| {
                let at = clauses::attribute_at(text, &unknown.name).unwrap_or_default();
                source.problem(start + at, unknown.message).with_help(unknown.help)
            })
            .collect();
        if !problems.is_empty() {
            misnamed.insert(policy.id().clone(), problems);
        }
    }
    misnamed
}

fn declared_actions(schema: &Schema) -> HashMap<String, HashSet<EntityUid>> {
    let Ok(entities) = schema.action_entities() else { return HashMap::new() };
    entities
        .iter()
        .map(|entity| {
            let uid = entity.uid();
            let ancestors = entities.ancestors(&uid).into_iter().flatten().cloned().collect();
            (uid.id().unescaped().to_owned(), ancestors)
        })
        .collect()
}

/// Where a policy's first token stands, its annotations included.
fn start_of(policy: &Policy) -> usize {
    policy.as_ref().loc().map(|loc| loc.start()).unwrap_or_default()
}

fn end_of(policy: &Policy) -> usize {
    policy.as_ref().loc().map(|loc| loc.end()).unwrap_or_default()
}

/// By place, each once.
fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    let key = |problem: &Problem| {
        (problem.file.clone(), problem.line, problem.column, problem.message.clone())
    };
    problems.sort_by_key(key);
    problems.dedup_by_key(|problem| key(problem));
    problems
}

/// Cedar calls policies by their number in the file, and tells a mistake once
/// for every action that a policy is about. The place says more, and once.
fn of_the_place(mut problem: Problem, policy: &PolicyId) -> Problem {
    if let Some(rest) = problem.message.strip_prefix(&format!("for policy `{policy}`, ")) {
        problem.message = rest.to_owned();
    }
    problem.message = of_any_action(&problem.message);
    problem
}

/// A mistake without the action for which Cedar happened to find it.
pub(super) fn of_any_action(message: &str) -> String {
    match message.split_once(" for Action::\"") {
        Some((before, rest)) => {
            let after = rest.split_once('"').map_or("", |(_, after)| after);
            format!("{before}{after}")
        }
        None => message.to_owned(),
    }
}

/// Cedar suggests near names; of actions it does not say how to name others.
fn with_what_was_meant<'a>(
    problem: Problem,
    error: &cedar_policy::ValidationError,
    actions: impl Iterator<Item = &'a String>,
) -> Problem {
    if !matches!(error, cedar_policy::ValidationError::UnrecognizedActionId(_)) {
        return problem;
    }
    let name = problem.message.split('"').nth(1).unwrap_or_default().to_owned();
    match nearest(&name, actions.map(String::as_str)) {
        Some(meant) => problem.with_help(format!("did you mean `Action::\"{meant}\"`?")),
        None => problem.with_help(format!(
            "declare it in {SCHEMA_FILE}, or write `action` with \
             `when {{ context.namespace == … && context.verb == … }}`"
        )),
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    pub(crate) fn files(policies: &str) -> Files {
        let file = PathBuf::from("p.cedar");
        Files { policies: vec![Source { file, text: policies.to_owned() }], ..Files::built_in() }
    }

    impl Files {
        pub(crate) fn with_schema(mut self, text: &str) -> Self {
            self.schema.text = text.to_owned();
            self
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{testing::files, *};

    fn problems(policies: &str) -> Vec<String> {
        let error = files(policies).check().unwrap_err();
        error.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_built_in_policies_pass_without_a_warning() {
        let checked = Files::built_in().check().unwrap();
        assert_eq!(checked.warnings, []);
        assert!(checked.policies.len() > 10);
    }

    #[test]
    fn each_mistake_is_named_where_it_is() {
        let cases = [
            (
                "permit (principal, action, resource);",
                "p.cedar:1:1: this `permit` has no `@id`\n  \
                 help: write `@id(\"what-it-is-about\")` above `permit`",
            ),
            (
                "@id(\"a\")\n@rsk(\"7\")\npermit (principal, action, resource);",
                "p.cedar:2:1: unknown annotation `@rsk`\n  help: did you mean `@risk`?",
            ),
            (
                "@id(\"a\") @risk(\"101\") permit (principal, action, resource);",
                "p.cedar:1:10: `@risk(\"101\")` is no number from 0 to 100\n  \
                 help: write it as text, as in `@risk(\"70\")`",
            ),
            (
                "@id(\"a\") @decision(\"approve\") forbid (principal, action, resource);",
                "p.cedar:1:10: unknown `@decision(\"approve\")`\n  \
                 help: the only decision is `@decision(\"require_approval\")`",
            ),
            (
                "@id(\"a\") @decision(\"require_approval\") permit (principal, action, resource);",
                "p.cedar:1:10: `@decision(\"require_approval\")` stands on a `permit`\n  \
                 help: write `permit` without it, and a `forbid` with it for what needs a person",
            ),
            (
                "@id(\"a\") @in_client_approval(\"yes\") forbid (principal, action, resource);",
                "p.cedar:1:10: unknown `@in_client_approval(\"yes\")`\n  \
                 help: the only one is `@in_client_approval(\"allow\")`",
            ),
            (
                "@id(\"a\") @in_client_approval(\"allow\") forbid (principal, action, resource);",
                "p.cedar:1:10: `@in_client_approval` stands on a policy that asks for no approval\n  \
                 help: write it beside `@decision(\"require_approval\")`",
            ),
            (
                "@id(\"a\") @reason(\" \") forbid (principal, action, resource);",
                "p.cedar:1:10: `@reason` says nothing\n  help: tell the approver and the agent why",
            ),
            (
                "@id(\"a b\") forbid (principal, action, resource);",
                "p.cedar:1:1: an `@id` is 1 to 128 letters, digits, `-`, `_` or `.`, as in \
                 `@id(\"file-reads\")`",
            ),
            (
                "@id(\"a\") permit (principal, action, resource);\n\
                 @id(\"a\") forbid (principal, action, resource);",
                "p.cedar:2:1: `@id(\"a\")` is given twice\n  help: the first is at p.cedar:1",
            ),
            (
                "@id(\"a\")\npermit (principal, action in Action::\"raed\", resource);",
                "p.cedar:2:30: unrecognized action `Action::\"raed\"`\n  \
                 help: did you mean `Action::\"read\"`?",
            ),
            (
                "@id(\"a\")\npermit (principal, action, resource)\nwhen { context.sqll.parsed };",
                "p.cedar:3:8: attribute `sqll` in context not found\n  help: did you mean `sql`?",
            ),
            (
                "@id(\"a\")\npermit (principal, action, resource)\nwhen { context.sql.parsed };",
                "p.cedar:3:8: unable to guarantee safety of access to \
                 optional attribute `sql`",
            ),
            ("@id(\"a\")\npermitt (principal, action, resource);", "p.cedar:2:1: "),
            (
                "@id(\"a\") permit (principal == ?principal, action, resource);",
                "p.cedar:1:31: policy `policy0` is a template\n  \
                 help: write the entity instead of `?principal` or `?resource`",
            ),
        ];
        for (text, expected) in cases {
            let found = problems(text);
            assert_eq!(found.len(), 1, "{text}\n{found:#?}");
            assert!(found[0].starts_with(expected), "{text}\n{}\nis not\n{expected}", found[0]);
        }
    }

    #[test]
    fn independent_mistakes_are_told_together() {
        let found = problems(
            "@id(\"a\") @risk(\"x\") permit (principal, action, resource);\n\
             permit (principal, action == Action::\"crm.refund\", resource);",
        );
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(found[2].contains("declare it in schema.cedarschema"), "{found:#?}");
    }

    #[test]
    fn a_mistake_in_the_schema_is_named_where_it_is() {
        let error = files("").with_schema("entity Agent;\nentiti Resource;").check().unwrap_err();
        assert_eq!((error.problems.len(), error.problems[0].line), (1, 2), "{error}");
    }
}
