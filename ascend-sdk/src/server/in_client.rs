//! Approval in the client, as a convenience: the client's user is asked, and the
//! authority told what they said. The authority decides whether that counts.
//!
//! Clients answer such prompts unseen, or let models do so. So it is never asked
//! where the tool's floor wants a person, where the risk is above what the server
//! was given, or where the authority reserves the action to its own approvers.

use std::{
    convert::Infallible,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rmcp::{
    Peer, RoleServer,
    model::{
        CancelledNotificationParam, ClientResult, ElicitRequest, ElicitRequestParams, ElicitResult,
        ElicitationAction, ElicitationSchema, EnumSchema, InputRequest, InputRequests,
        PrimitiveSchemaDefinition, RequestId, ServerRequest,
    },
    service::{PeerRequestOptions, RequestContext},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

use super::{Server, card, catalog::Offer, legs::Answers, legs::Leg};
use crate::{
    ActionId, ClientAnswer, Confirmation, Governor, RiskLevel, SessionContext,
    context::{Waiting, Wish},
    recent::Recent,
};

/// The name of the one question in a prompt's answers.
const QUESTION: &str = "approval";
const FIELD: &str = "decision";
const APPROVE: &str = "approve";
const REJECT: &str = "reject";

/// An answer that comes sooner is no person's: it takes longer to read a card.
const SHORTEST: Duration = Duration::from_secs(1);

/// How long the authority may take to note an answer.
const TIME_TO_CONFIRM: Duration = Duration::from_secs(10);

/// Whether clients' users are asked at all, and who was asked already.
#[derive(Debug)]
pub(crate) struct InClient {
    max_risk: Option<RiskLevel>,
    /// Nobody is asked twice for one action.
    asked: Mutex<Recent>,
}

impl InClient {
    pub(crate) fn new(max_risk: Option<RiskLevel>) -> Self {
        Self { max_risk, asked: Mutex::default() }
    }

    fn may_ask(&self, offer: &Offer) -> bool {
        let floor = offer.route.spec().floor;
        self.max_risk.is_some_and(|most| {
            !floor.require_human_approval && floor.risk_level.is_none_or(|level| level <= most)
        })
    }

    /// What is asked about a call; `None` where its user is not to be asked.
    fn question(&self, waiting: &Waiting) -> Option<ElicitRequestParams> {
        let card = waiting.card.as_deref()?;
        let risk =
            waiting.risk_level.max(RiskLevel::of_score(waiting.risk_score)).max(card.least_risk);
        if risk > self.max_risk? {
            return None;
        }
        let message = card::text(waiting, card, Instant::now())?;
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(&waiting.action_id).then(|| ElicitRequestParams::FormElicitationParams {
            meta: None,
            message,
            requested_schema: form(),
        })
    }
}

/// One field, without a default: whoever accepts says which it is.
fn form() -> ElicitationSchema {
    let decision =
        EnumSchema::builder(vec![APPROVE.to_owned(), REJECT.to_owned()]).title("Decision").build();
    let mut form = ElicitationSchema::new(Default::default());
    form.properties.insert(FIELD.to_owned(), PrimitiveSchemaDefinition::Enum(decision));
    form.required = Some(vec![FIELD.to_owned()]);
    form
}

/// What the user said, if it was the user, and they said something.
fn said(answer: &ElicitResult, after: Duration) -> Option<ClientAnswer> {
    let decision = answer.content.as_ref().and_then(|content| content.get(FIELD)?.as_str());
    let said = match (&answer.action, decision) {
        (ElicitationAction::Accept, Some(APPROVE)) => ClientAnswer::Approved,
        (ElicitationAction::Accept, Some(REJECT)) => ClientAnswer::Rejected,
        _ => return None,
    };
    if after < SHORTEST {
        tracing::warn!(?after, "the client answered before anybody could have read the question");
        return None;
    }
    Some(said)
}

/// How one call's user is asked.
pub(super) struct Asking<'a> {
    server: &'a Server,
    governor: Governor,
    session: SessionContext,
    way: Way,
}

enum Way {
    /// By the answer to this request, to which the next one brings theirs.
    ByAnswer,
    /// So it was done, and this is what they said.
    Answered(ActionId, Answers),
    /// By a request of ours, while theirs is held.
    ByRequest(Peer<RoleServer>),
}

impl<'a> Asking<'a> {
    /// `None` where they are not asked. On the heap: most calls ask nobody, and need
    /// no room for it while they wait.
    pub(super) fn of(
        server: &'a Server,
        offer: &Offer,
        context: &RequestContext<RoleServer>,
        session: &SessionContext,
        is_legacy: bool,
        leg: &mut Leg,
    ) -> Option<Box<Self>> {
        let way = match (&leg.resumes, leg.answers.take()) {
            _ if !server.in_client.may_ask(offer) => return None,
            (Some(action), Some(answers)) => Way::Answered(action.clone(), answers),
            (None, _) if !shows_forms(context) => return None,
            (None, _) if is_legacy => Way::ByRequest(context.peer.clone()),
            (None, _) => Way::ByAnswer,
            (Some(_), None) => return None,
        };
        let governor = offer.route.governor().unwrap_or_else(|| server.governor.clone());
        Some(Box::new(Self { server, governor, session: session.clone(), way }))
    }

    /// Whether the call must tell what it is, once it waits.
    pub(super) fn needs_card(&self) -> bool {
        matches!(self.way, Way::ByAnswer | Way::ByRequest(_))
    }

    /// Asks, as soon as the call waits, or tells the authority what was answered.
    /// What the next request is to answer comes into `asks`. Never resolves: the
    /// call itself learns from the authority what came of it.
    pub(super) async fn run(
        self: Box<Self>,
        waiting: watch::Receiver<Option<Waiting>>,
        wish: watch::Sender<Wish>,
        asks: &mut Option<InputRequests>,
    ) -> Infallible {
        self.ask(waiting, wish, asks).await;
        std::future::pending().await
    }

    async fn ask(
        self: Box<Self>,
        mut waiting: watch::Receiver<Option<Waiting>>,
        wish: watch::Sender<Wish>,
        asks: &mut Option<InputRequests>,
    ) {
        match &self.way {
            Way::Answered(action, answers) => {
                let answer = answers.answers.get(QUESTION).cloned();
                let answer = answer.and_then(|answer| serde_json::from_value(answer).ok());
                if let Some(said) = answer.and_then(|answer| said(&answer, answers.after)) {
                    self.confirm(action, said).await;
                }
            }
            Way::ByAnswer => {
                if let Some((_, question)) = self.question(&mut waiting).await {
                    let request = InputRequest::Elicitation(ElicitRequest::new(question));
                    *asks = Some([(QUESTION.to_owned(), request)].into());
                    wish.send_replace(Wish::Leave);
                }
            }
            Way::ByRequest(peer) => {
                if let Some((waiting, question)) = self.question(&mut waiting).await {
                    let asked = Instant::now();
                    let answer = timeout_at(waiting.until, elicit(peer, question)).await;
                    let answer = answer.ok().flatten();
                    if let Some(said) = answer.and_then(|answer| said(&answer, asked.elapsed())) {
                        self.confirm(&waiting.action_id, said).await;
                    }
                }
            }
        }
    }

    /// What is to be asked, once the call waits.
    async fn question(
        &self,
        waiting: &mut watch::Receiver<Option<Waiting>>,
    ) -> Option<(Waiting, ElicitRequestParams)> {
        let waiting = waiting.wait_for(Option::is_some).await.ok()?.clone()?;
        let question = self.server.in_client.question(&waiting)?;
        tracing::info!(action_id = %waiting.action_id, "asking the client's user");
        Some((waiting, question))
    }

    async fn confirm(&self, id: &ActionId, answer: ClientAnswer) {
        let confirmation = Confirmation { answer, session: self.session.clone() };
        let confirmed = self.governor.authority().confirm(id, &confirmation);
        match timeout(TIME_TO_CONFIRM, confirmed).await {
            Ok(Ok(())) => {
                tracing::info!(action_id = %id, ?answer, "the client's user decided");
            }
            Ok(Err(error)) => {
                tracing::warn!(action_id = %id, ?answer, %error, "the answer of the client's user does not count");
            }
            Err(_) => {
                tracing::warn!(action_id = %id, ?answer, "the authority did not note the answer of the client's user in time");
            }
        }
    }
}

/// Whether the client can show a form. Before there were other modes, the empty
/// capability meant so.
fn shows_forms(context: &RequestContext<RoleServer>) -> bool {
    context
        .client_capabilities()
        .and_then(|capabilities| capabilities.elicitation)
        .is_some_and(|elicitation| elicitation.form.is_some() || elicitation.url.is_none())
}

/// Asks by a request, which is withdrawn when this is dropped before its answer.
async fn elicit(peer: &Peer<RoleServer>, question: ElicitRequestParams) -> Option<ElicitResult> {
    let request = ServerRequest::ElicitRequest(ElicitRequest::new(question));
    let options = PeerRequestOptions::no_options();
    let handle = match peer.send_request_with_option(request, options).await {
        Ok(handle) => handle,
        Err(error) => {
            tracing::info!(%error, "the client's user could not be asked");
            return None;
        }
    };
    let mut open = Open { peer: peer.clone(), id: Some(handle.id.clone()) };
    let answer = handle.await_response().await;
    open.id = None;
    match answer {
        Ok(ClientResult::ElicitResult(answer)) => Some(answer),
        Ok(_) => None,
        Err(error) => {
            tracing::info!(%error, "the client's user was not asked");
            None
        }
    }
}

/// A request of ours that waits for its answer.
struct Open {
    peer: Peer<RoleServer>,
    id: Option<RequestId>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let peer = self.peer.clone();
        let reason = Some("the action waits no more".to_owned());
        let params = CancelledNotificationParam::new(Some(id), reason);
        runtime.spawn(async move { peer.notify_cancelled(params).await });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;

    fn answer(text: Value) -> Option<ClientAnswer> {
        said(&serde_json::from_value(text).unwrap(), SHORTEST)
    }

    #[test]
    fn only_an_accepted_decision_says_something() {
        let approve = json!({ "action": "accept", "content": { "decision": "approve" } });
        assert_eq!(answer(approve.clone()), Some(ClientAnswer::Approved));
        let reject = json!({ "action": "accept", "content": { "decision": "reject" } });
        assert_eq!(answer(reject), Some(ClientAnswer::Rejected));
        for nothing in [
            json!({ "action": "accept" }),
            json!({ "action": "accept", "content": {} }),
            json!({ "action": "accept", "content": { "decision": true } }),
            json!({ "action": "accept", "content": { "decision": "Approve" } }),
            json!({ "action": "accept", "content": "approve" }),
            json!({ "action": "decline", "content": { "decision": "approve" } }),
            json!({ "action": "cancel", "content": { "decision": "approve" } }),
        ] {
            assert_eq!(answer(nothing.clone()), None, "{nothing}");
        }
        let at_once = said(&serde_json::from_value(approve).unwrap(), Duration::from_millis(999));
        assert_eq!(at_once, None);
    }

    #[test]
    fn the_form_has_one_required_field_without_a_default() {
        assert_eq!(
            serde_json::to_value(form()).unwrap(),
            json!({
                "type": "object",
                "properties": {
                    "decision": {
                        "type": "string",
                        "title": "Decision",
                        "enum": ["approve", "reject"],
                    },
                },
                "required": ["decision"],
            })
        );
    }
}
