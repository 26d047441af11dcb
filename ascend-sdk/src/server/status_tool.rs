//! `approval_status`: an agent asks how its pending action stands. It reads, and
//! decides nothing, so it is not governed.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rmcp::model::{CallToolResult, ContentBlock as Block, JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    ActionId, Approval, AuthorityError, Governor, Refusal, Standing, Status,
    decision::governance_object, refusal::spoken, rmcp_return::RmcpResult as _,
};

pub(crate) const NAME: &str = "approval_status";
/// How it is mentioned where an action waits on.
pub(crate) const MENTION: &str = "The tool `approval_status` tells how it stands";

/// How long a look-up may take, its time in line included.
const TIME_TO_LOOK: Duration = Duration::from_secs(10);
/// How many look-ups go on at once, and how many more wait in line.
const LOOKUPS: usize = 16;
const LINE: usize = 1_024;
/// How many actions that were answered as pending are remembered.
const REMEMBERED: usize = 65_536;

/// The tool of one server.
pub(crate) struct StatusTool {
    /// Those who can be asked, the server's own first.
    governors: Vec<Governor>,
    answered: Mutex<Answered>,
    lookups: Semaphore,
    line: Semaphore,
}

/// The actions that this process answered as pending, by which of the governors.
/// It forgets the oldest.
#[derive(Default)]
struct Answered {
    governors: HashMap<ActionId, Governor>,
    order: VecDeque<ActionId>,
}

impl Answered {
    fn remember(&mut self, id: &ActionId, governor: &Governor) {
        if self.governors.insert(id.clone(), governor.clone()).is_some() {
            return;
        }
        self.order.push_back(id.clone());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.governors.remove(&oldest);
        }
    }
}

/// What is found of an action.
#[derive(Debug, PartialEq)]
enum Found {
    Standing(Status),
    /// It is this server's, and the authority cannot say how it stands.
    Unsaid,
    /// No such action, or not of this server: which of them, nobody is told.
    Nothing,
}

impl StatusTool {
    pub(crate) fn new(governors: impl IntoIterator<Item = Governor>) -> Self {
        let mut distinct: Vec<Governor> = Vec::new();
        for governor in governors {
            let is_same = |other: &Governor| {
                std::ptr::addr_eq(other.authority(), governor.authority())
                    && other.server_id() == governor.server_id()
            };
            if !distinct.iter().any(is_same) {
                distinct.push(governor);
            }
        }
        Self {
            governors: distinct,
            answered: Mutex::default(),
            lookups: Semaphore::new(LOOKUPS),
            line: Semaphore::new(LOOKUPS + LINE),
        }
    }

    /// As `tools/list` shows it.
    pub(crate) fn listing() -> Tool {
        let schema = json!({
            "type": "object",
            "properties": { "action_id": {
                "type": "string",
                "description": "The id of the action, from the answer that said that it waits",
            } },
            "required": ["action_id"],
            "additionalProperties": false,
        });
        let schema = match schema {
            Value::Object(schema) => schema,
            _ => JsonObject::new(),
        };
        let description = "Tells how an action stands that waits for a person's approval. It only \
             looks: it neither approves nor runs anything.";
        let mut tool = Tool::new(NAME, description, Arc::new(schema));
        tool.annotations =
            Some(ToolAnnotations::from_raw(None, Some(true), Some(false), Some(true), Some(false)));
        tool
    }

    /// Remembers an action whose call is about to be answered, though it waits on.
    pub(crate) fn remember(&self, id: &ActionId, governor: &Governor) {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).remember(id, governor);
    }

    /// The text of an answer that says that an action waits on, and that there is
    /// this tool.
    pub(crate) fn mentioned_after(text: &impl std::fmt::Display) -> Block {
        Block::text(format!("{text}. {MENTION}"))
    }

    pub(crate) async fn call(&self, arguments: &JsonObject) -> CallToolResult {
        let id = match action_id(arguments) {
            Ok(id) => id,
            Err(fault) => return failed(format!("invalid arguments for `{NAME}`: {fault}")),
        };
        let Ok(_place) = self.line.try_acquire() else {
            return failed(
                "too many ask at once how their actions stand; try again later".to_owned(),
            );
        };
        let looking = async {
            let _turn = self.lookups.acquire().await;
            self.look(&id).await
        };
        match timeout(TIME_TO_LOOK, looking).await {
            Ok(Ok(found)) => answer(&id, found),
            Ok(Err(error)) => failed(format!("how action {id} stands is not known: {error}")),
            Err(_) => failed(format!(
                "how action {id} stands is not known: the authority did not answer within {}",
                spoken(TIME_TO_LOOK)
            )),
        }
    }

    async fn look(&self, id: &ActionId) -> Result<Found, AuthorityError> {
        let known = {
            let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
            answered.governors.get(id).cloned()
        };
        if let Some(governor) = known {
            let standing = governor.authority().status(id).await?;
            return Ok(standing.map_or(Found::Unsaid, |standing| Found::Standing(standing.status)));
        }
        // Perhaps an earlier process of this server was asked.
        let mut trouble = None;
        for governor in &self.governors {
            match governor.authority().status(id).await {
                Ok(Some(Standing { server_id, status }))
                    if server_id.as_deref() == Some(governor.server_id()) =>
                {
                    return Ok(Found::Standing(status));
                }
                Ok(_) => {}
                Err(error) => trouble = Some(error),
            }
        }
        trouble.map_or(Ok(Found::Nothing), Err)
    }
}

impl std::fmt::Debug for StatusTool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatusTool").finish_non_exhaustive()
    }
}

/// Models write ids that look like numbers as numbers.
fn action_id(arguments: &JsonObject) -> Result<ActionId, String> {
    if let Some(name) = arguments.keys().find(|name| *name != "action_id") {
        return Err(format!("unknown argument `{name:.100}`; expected `action_id`"));
    }
    let text = match arguments.get("action_id") {
        Some(Value::String(text)) => Some(text.trim().to_owned()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(_) => None,
        None => return Err("`action_id` is missing".to_owned()),
    };
    text.and_then(ActionId::new).ok_or_else(|| {
        "`action_id` is no action's id; give the one of the answer that said that it waits"
            .to_owned()
    })
}

fn answer(id: &ActionId, found: Found) -> CallToolResult {
    let nothing = || {
        failed(format!(
            "this server knows no action {id}; give the id of an answer that said that an action waits"
        ))
    };
    let status = match found {
        Found::Nothing => return nothing(),
        Found::Unsaid => {
            return failed(format!(
                "the authority does not say how action {id} stands; call its tool again with the same arguments to learn it"
            ));
        }
        Found::Standing(status) => status,
    };
    let within = |left: Option<Duration>| match left {
        Some(left) => format!(" within {}", spoken(left)),
        None => String::new(),
    };
    let seconds = |left: Option<Duration>| left.map(|left| Value::from(left.as_secs()));
    let named = ("action_id", Some(id.as_str().into()));
    let executed =
        |how: &str| governance_object("executed", [named.clone(), ("execution", Some(how.into()))]);
    let (text, governance) = match status {
        Status::Pending { left } => (
            format!(
                "Action {id} waits for a person's approval and was not executed yet: ask the user \
                 to have it approved{}, then call its tool again with the same arguments",
                within(left)
            ),
            governance_object("pending", [named, ("expires_in_seconds", seconds(left))]),
        ),
        Status::Approved { approval, left } => {
            let reviewer =
                approval.as_ref().and_then(|Approval { reviewed_by, .. }| reviewed_by.as_deref());
            let by = match (reviewer, &approval) {
                (Some(reviewer), _) => format!("was approved by {reviewer}"),
                (None, Some(_)) => "was approved".to_owned(),
                (None, None) => "is allowed".to_owned(),
            };
            (
                format!(
                    "Action {id} {by} and was not executed yet: call its tool again with the same \
                     arguments{}, and it runs, once",
                    within(left)
                ),
                governance_object(
                    "approved",
                    [
                        named,
                        ("reviewed_by", reviewer.map(Value::from)),
                        ("expires_in_seconds", seconds(left)),
                    ],
                ),
            )
        }
        Status::Claimed => (
            format!(
                "The decision on action {id} was used for its one run, and how that ended is not \
                 known: do not call its tool again without asking the user"
            ),
            executed("unknown"),
        ),
        Status::Completed => (format!("Action {id} was executed"), executed("completed")),
        Status::Failed => (format!("Action {id} was executed and failed"), executed("failed")),
        Status::Refused(rejection) => {
            let refusal = Refusal::rejected(rejection).with_action_id(id.clone());
            (refusal.to_string(), refusal.to_json())
        }
        Status::Unknown => return nothing(),
    };
    CallToolResult::success(vec![Block::text(text)]).governed(governance)
}

fn failed(text: String) -> CallToolResult {
    CallToolResult::error(vec![Block::text(text)])
}
