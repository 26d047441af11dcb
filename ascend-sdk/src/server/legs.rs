//! Calls that wait over several requests, as clients of 2026-07-28 can: each
//! request is held for a while, and then answered with a sealed state, which the
//! client's next request brings back to go on waiting for the very same action.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use rmcp::{
    RoleServer,
    model::{
        CallToolRequestParams, ErrorData, InputRequests, InputRequiredResult, InputResponses,
        RequestStateCodec, RequestStateError, SealOptions,
    },
    service::RequestContext,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Server,
    answer::{self, Ended},
    error::Mistake,
    session,
};
use crate::{
    ActionId, RefusalKind,
    context::CallNumber,
    digest::{self, Salt},
    recent::Recent,
    route::Unanswered,
};

/// How long one request of a call is held: the clients' 60 s for each, less a
/// margin.
const LONGEST: Duration = Duration::from_secs(45);

/// The request of a call that is not answered with a state any more. rmcp's
/// client makes ten; the official TypeScript and Python clients make eleven.
const LAST: u8 = 10;

/// Seals the states.
#[derive(Debug)]
pub(crate) struct Legs {
    codec: RequestStateCodec,
    /// The actions whose end was told to a call that came back for it. One that
    /// ran the governor knows.
    over: Mutex<Recent>,
}

impl Legs {
    /// With a key that other processes may have too, or one of this process.
    pub(crate) fn new(key: Option<&SecretString>, mistakes: &mut Vec<Mistake>) -> Self {
        let own = || RequestStateCodec::new_unchecked(Salt::random().into_secret());
        let codec = key.map_or_else(own, |key| {
            let key = key.expose_secret();
            RequestStateCodec::try_new(key).unwrap_or_else(|_| {
                mistakes.push(Mistake::ShortStateKey { bytes: key.len() });
                own()
            })
        });
        Self { codec, over: Mutex::default() }
    }

    fn over(&self) -> MutexGuard<'_, Recent> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a call brings back of its earlier requests.
#[derive(Debug, Default)]
pub(super) struct Brought {
    state: Option<String>,
    answers: Option<InputResponses>,
}

impl Brought {
    pub(super) fn take(params: &mut CallToolRequestParams) -> Self {
        Self { state: params.request_state.take(), answers: params.input_responses.take() }
    }

    fn is_empty(&self) -> bool {
        self.state.is_none() && self.answers.is_none()
    }
}

/// Why a call does not go on. Nothing ran, and no action was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error(
        "`requestState` and `inputResponses` are of protocol 2026-07-28, which this request does not follow. Nothing was executed; call again without them"
    )]
    Legacy,
    #[error(
        "the `requestState` is none that this server gave for this call: it was changed, or belongs to another tool, other arguments, another session or an earlier start of the server. Nothing was executed; call again with the same arguments and without `requestState`"
    )]
    Forged,
    #[error(
        "the time for an approval was over before the call came back. It was not executed; call again without `requestState` to ask anew"
    )]
    Expired,
    #[error(
        "the action that the call waited for is over, which an earlier request was told. It was not executed; call again without `requestState` to ask anew"
    )]
    Over,
}

impl Fault {
    /// As the client sees it. What honest clients meet is a result, which models
    /// read; a forged state is a protocol error, as SEP-2322 asks.
    pub(super) fn answer(self) -> Result<rmcp::model::CallToolResponse, ErrorData> {
        tracing::warn!(fault = ?self, "refused a call that came back");
        match self {
            Self::Forged => Err(ErrorData::invalid_params(self.to_string(), None)),
            Self::Legacy | Self::Expired | Self::Over => {
                Ok(answer::failed(self.to_string(), None).into())
            }
        }
    }
}

/// What is sealed. The client can read it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    action: ActionId,
    /// Which request of the call it is for, counted from 1.
    leg: u8,
    /// The call, to which the action was promised.
    call: CallNumber,
    /// When the client's user was asked, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked_at: Option<i64>,
}

/// One request of a call.
#[derive(Debug)]
pub(super) struct Leg {
    number: u8,
    /// The call, which all its requests share.
    pub(super) call: CallNumber,
    /// `None` before 2026-07-28.
    binding: Option<[u8; 32]>,
    /// The action that it goes on waiting for.
    pub(super) resumes: Option<ActionId>,
    /// What the client's user answered, where they were asked.
    pub(super) answers: Option<Answers>,
}

/// Answers to a prompt.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) answers: InputResponses,
    /// How long the client took.
    pub(super) after: Duration,
}

impl Leg {
    pub(super) fn of(
        server: &Server,
        context: &RequestContext<RoleServer>,
        own_session: &str,
        is_legacy: bool,
        (tool, arguments): (&str, &Map<String, Value>),
        brought: Brought,
    ) -> Result<Self, Fault> {
        let call = CallNumber::next();
        let first = Self { number: 1, call, binding: None, resumes: None, answers: None };
        if is_legacy {
            return if brought.is_empty() { Ok(first) } else { Err(Fault::Legacy) };
        }
        let principal = session::principal(context, own_session);
        let binding = digest::of_request(server.governor.server_id(), tool, &principal, arguments);
        let first = Self { binding: Some(binding), ..first };
        // Answers to what nobody asked are no answers: the call is a first one.
        let Some(state) = brought.state else { return Ok(first) };
        let sealed: Sealed =
            server.legs.codec.open_json_with(&state, &binding).map_err(|error| match error {
                RequestStateError::Expired => Fault::Expired,
                _ => Fault::Forged,
            })?;
        if server.legs.over().contains(&sealed.action) {
            return Err(Fault::Over);
        }
        let answers = sealed.asked_at.map(|asked_at| Answers {
            answers: brought.answers.unwrap_or_default(),
            after: Duration::from_millis(u64::try_from(now() - asked_at).unwrap_or_default()),
        });
        let Sealed { leg: number, call, action, .. } = sealed;
        Ok(Self { number, call, resumes: Some(action), answers, ..first })
    }

    /// How long it is held, where a call of this client is held for `hold`.
    pub(super) fn hold(&self, server: &Server, hold: Option<Duration>) -> Option<Duration> {
        match (self.binding, server.hold) {
            (None, _) | (_, Some(None)) => hold,
            _ => Some(hold.map_or(LONGEST, |hold| hold.min(LONGEST))),
        }
    }

    /// What the client is answered instead of how its request ended; `None` where
    /// it must do with that.
    pub(super) fn next(
        &self,
        server: &Server,
        ended: &Ended,
        asks: Option<InputRequests>,
    ) -> Option<InputRequiredResult> {
        let Some(pending) = answer::pending(ended) else {
            if let (Some(action), true) = (&self.resumes, has_ended_unexecuted(ended)) {
                server.legs.over().insert(action);
            }
            return None;
        };
        let (Some(binding), true) = (&self.binding, self.number < LAST) else { return None };
        let sealed = Sealed {
            action: pending.action_id()?.clone(),
            leg: self.number + 1,
            call: self.call,
            asked_at: asks.is_some().then(now),
        };
        let options = SealOptions::new().associated_data(binding).ttl(pending.left()?);
        match server.legs.codec.seal_json_with(&sealed, &options) {
            Ok(state) => Some(InputRequiredResult::new(asks, Some(state))),
            Err(error) => {
                tracing::error!(%error, "a state could not be sealed");
                None
            }
        }
    }
}

/// Whether the action will never run.
fn has_ended_unexecuted(ended: &Ended) -> bool {
    let Ok(Err(Unanswered::Refused(refusal))) = ended else { return false };
    matches!(refusal.kind(), RefusalKind::Rejected | RefusalKind::TimedOut | RefusalKind::Expired)
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}
