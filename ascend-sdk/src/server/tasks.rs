//! Calls that wait for a person, as tasks of MCP's extension
//! `io.modelcontextprotocol/tasks` (SEP-2663).
//!
//! rmcp's own `TaskManager` is not used. It aborts a body that runs beyond its
//! task's time to live, keeps any number of results, looks through all tasks at
//! each request, and cannot tell a new expiry, or what a task waits for, when it
//! is asked.

use std::{
    collections::{BTreeSet, HashMap},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use jiff::{Timestamp, Unit};
use rmcp::{
    ErrorData, RoleServer,
    model::{CallToolResult, DetailedTask, JsonObject, Task, TaskPayload, TaskStatus},
    service::RequestContext,
};
use serde_json::Value;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Limits, Server,
    answer::{self, Ended},
    call::Ongoing,
    catalog::Output,
    status_tool,
};
use crate::{
    RefusalKind,
    context::{Waiting, Wish},
    route::Unanswered,
};

/// How long a task lives beyond the time for its approval, for its body to run
/// and its result to be fetched.
const TIME_TO_RUN: Duration = Duration::from_secs(60 * 60);
/// How long a task lives at least once it has ended.
const TIME_TO_FETCH: Duration = Duration::from_secs(15 * 60);
/// How long it lives once its end was fetched: the answer may have got lost.
const TIME_TO_FETCH_AGAIN: Duration = Duration::from_secs(5 * 60);
/// How often clients should look. The body does not wait for that.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Whether the request may be answered with a task. Some clients declare the
/// extension on versions before 2026-07-28, and then read a task as an empty
/// result.
pub(super) fn may_answer(context: &RequestContext<RoleServer>, is_legacy: bool) -> bool {
    !is_legacy
        && context.client_capabilities().is_some_and(|capabilities| capabilities.supports_tasks())
}

/// The tasks of a server, those that have ended included.
#[derive(Default)]
pub(crate) struct Tasks(Mutex<Table>);

#[derive(Default)]
struct Table {
    tasks: HashMap<String, Entry>,
    /// When each of those that have ended is forgotten.
    ends: BTreeSet<(Instant, String)>,
    /// How much those that have ended take, as JSON.
    bytes: usize,
}

struct Entry {
    /// As it was last shown. Its id is all that a client needs to have it.
    task: Task,
    /// Whose it is, where clients have sessions.
    session_id: String,
    created: Instant,
    /// The same time, by the clock.
    created_at: Timestamp,
    lives: Duration,
    /// What is added while it waits.
    mention: Option<&'static str>,
    stage: Stage,
}

enum Stage {
    Ongoing {
        waiting: watch::Receiver<Option<Waiting>>,
        begun: Arc<OnceLock<Option<String>>>,
        wish: watch::Sender<Wish>,
        cancellation: CancellationToken,
    },
    Ended {
        payload: Arc<TaskPayload>,
        bytes: usize,
    },
}

impl Tasks {
    fn table(&self) -> MutexGuard<'_, Table> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.forget(Instant::now());
        table
    }

    /// Whether there is room for one more. Those that have ended cannot make
    /// any: they were promised to live.
    pub(super) fn have_room(&self, limits: &Limits) -> bool {
        let table = self.table();
        table.ends.len() < limits.concurrent_calls && table.bytes < limits.unread_bytes
    }

    /// Lets `call` go on as a task of the session, until it ends, or `ended`
    /// says that the server does.
    pub(super) fn take_over(
        server: Arc<Server>,
        mut call: Ongoing,
        waiting: &Waiting,
        output: Output,
        session_id: String,
        ended: CancellationToken,
    ) -> Task {
        let id = format!("task-{}", super::handler::uuid());
        let mention = server.status_tool.as_ref().map(|_| status_tool::MENTION);
        let entry = Entry::new(id.clone(), session_id, &call, waiting, mention);
        let task = entry.task.clone();
        // Whoever knows the id has the task: it is not for the log.
        tracing::info!(action_id = %waiting.action_id, "answered with a task");
        server.tasks.table().tasks.insert(id.clone(), entry);
        tokio::spawn(async move {
            let ended = call.end(None, pin!(ended.cancelled_owned())).await;
            drop(call);
            server.tasks.settle(&id, ended, output);
        });
        task
    }

    fn settle(&self, id: &str, ended: Ended, output: Output) {
        let was_withdrawn = matches!(
            &ended,
            Ok(Err(Unanswered::Refused(refusal))) if refusal.kind() == RefusalKind::Cancelled
        );
        let result = to_object(&answer::result(ended, output, false));
        let bytes = serde_json::to_vec(&result).map_or(0, |json| json.len());
        let mut table = self.table();
        let Some(entry) = table.tasks.get_mut(id) else { return };
        let (payload, bytes, message) = if was_withdrawn && entry.was_abandoned() {
            let message = "cancelled; it was not executed, and will not be".to_owned();
            (TaskPayload::Cancelled, 0, Some(message))
        } else {
            (TaskPayload::Completed { result }, bytes, None)
        };
        entry.task.status_message = message;
        entry.task.last_updated_at = shown(Timestamp::now());
        entry.lives = entry.lives.max(entry.created.elapsed() + TIME_TO_FETCH);
        entry.stage = Stage::Ended { payload: Arc::new(payload), bytes };
        let end = entry.created + entry.lives;
        table.bytes += bytes;
        table.ends.insert((end, id.to_owned()));
    }

    /// How the task stands.
    pub(super) fn show(&self, id: &str, session_id: &str) -> Result<DetailedTask, ErrorData> {
        let mut table = self.table();
        let entry = table.of(id, session_id)?;
        let end = entry.created + entry.lives;
        let age = entry.created.elapsed();
        let payload = match &entry.stage {
            Stage::Ongoing { .. } => {
                entry.lives = entry.lives.max(age + TIME_TO_FETCH);
                let message = Some(entry.message());
                if entry.task.status_message != message {
                    entry.task.status_message = message;
                    entry.task.last_updated_at = shown(Timestamp::now());
                }
                Arc::new(TaskPayload::Working)
            }
            Stage::Ended { payload, .. } => {
                entry.lives = entry.lives.min(age + TIME_TO_FETCH_AGAIN);
                payload.clone()
            }
        };
        entry.task.ttl_ms = Some(milliseconds(entry.lives));
        let task = entry.task.clone();
        let earlier = entry.created + entry.lives;
        let moved = (end, id.to_owned());
        if earlier < end && table.ends.remove(&moved) {
            table.ends.insert((earlier, moved.1));
        }
        // A result can be large, and others wait for the lock.
        drop(table);
        Ok(DetailedTask::new(task, Arc::unwrap_or_clone(payload)))
    }

    /// Its agent does not want it any more. What waits is given up, though it was
    /// promised; a body that has begun is offered to stop.
    pub(super) fn abandon(&self, id: &str, session_id: &str) -> Result<(), ErrorData> {
        let mut table = self.table();
        if let Stage::Ongoing { wish, cancellation, .. } = &table.of(id, session_id)?.stage {
            wish.send_replace(Wish::Abandon);
            cancellation.cancel();
        }
        Ok(())
    }

    /// Whether the session has the task. No task ever asks for input.
    pub(super) fn check(&self, id: &str, session_id: &str) -> Result<(), ErrorData> {
        self.table().of(id, session_id).map(|_| ())
    }
}

impl Table {
    fn of(&mut self, id: &str, session_id: &str) -> Result<&mut Entry, ErrorData> {
        let entry = self.tasks.get_mut(id).filter(|entry| entry.session_id == session_id);
        entry.ok_or_else(|| {
            ErrorData::invalid_params(
                "Unknown task: it is forgotten, or the server was started anew since. Call the \
                 tool again with the same arguments: if its action still waits for approval, or \
                 was approved and did not run, the call joins it, and it runs once",
                None,
            )
        })
    }

    fn forget(&mut self, now: Instant) {
        while self.ends.first().is_some_and(|(end, _)| *end <= now) {
            let Some((_, id)) = self.ends.pop_first() else { return };
            if let Some(Entry { stage: Stage::Ended { bytes, .. }, .. }) = self.tasks.remove(&id) {
                self.bytes -= bytes;
            }
        }
    }
}

impl Entry {
    fn new(
        id: String,
        session_id: String,
        call: &Ongoing,
        waiting: &Waiting,
        mention: Option<&'static str>,
    ) -> Self {
        let (created, created_at) = (Instant::now(), Timestamp::now());
        let lives = waiting.until.saturating_duration_since(created) + TIME_TO_RUN;
        let task = Task::new(id, TaskStatus::Working, shown(created_at), shown(created_at))
            .with_ttl_ms(milliseconds(lives))
            .with_poll_interval_ms(milliseconds(POLL_INTERVAL));
        let stage = Stage::Ongoing {
            waiting: call.waiting.clone(),
            begun: call.begun.clone(),
            wish: call.wish.clone(),
            cancellation: call.cancellation.clone(),
        };
        let mut entry = Self { task, session_id, created, created_at, lives, mention, stage };
        entry.task.status_message = Some(entry.message_of(waiting));
        entry
    }

    fn was_abandoned(&self) -> bool {
        matches!(&self.stage, Stage::Ongoing { wish, .. } if *wish.borrow() == Wish::Abandon)
    }

    /// What an agent, and perhaps its user, may know now.
    fn message(&self) -> String {
        let Stage::Ongoing { waiting, begun, .. } = &self.stage else { return String::new() };
        if let Some(waiting) = &*waiting.borrow() {
            return self.message_of(waiting);
        }
        let mut message = match begun.get() {
            Some(Some(reviewer)) => format!("approved by {reviewer}; running"),
            Some(None) => "approved; running".to_owned(),
            None => "decided".to_owned(),
        };
        if self.was_abandoned() {
            message.push_str("; asked to stop");
        }
        message
    }

    /// How to approve is not in it: an agent with a shell would be tempted to.
    fn message_of(&self, waiting: &Waiting) -> String {
        let Waiting { action_id, what, risk_score, until, .. } = waiting;
        let until = self
            .created_at
            .saturating_add(until.saturating_duration_since(self.created))
            .map_or_else(
                |_| String::new(),
                |until| until.strftime(", expires %Y-%m-%d %H:%M:%S UTC").to_string(),
            );
        let mention = self.mention.map_or_else(String::new, |mention| format!(". {mention}"));
        format!(
            "waiting for approval: action {action_id} ({what}), risk {risk_score}{until}{mention}"
        )
    }
}

/// A time as MCP has it.
fn shown(time: Timestamp) -> String {
    time.round(Unit::Millisecond).unwrap_or(time).to_string()
}

fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

fn to_object(result: &CallToolResult) -> JsonObject {
    match serde_json::to_value(result) {
        Ok(Value::Object(object)) => object,
        _ => JsonObject::new(),
    }
}
