//! An action that waits, with all that a person needs to decide.

use ascend_sdk::RiskLevel;
use jiff::Timestamp;
use maud::{Markup, html};
use sha2::{Digest as _, Sha256};

use super::{
    arguments,
    shell::Visit,
    text::visible,
    words::{ago, count, counted, risk, state, until},
};
use crate::{
    ActionState, Center, Effect, Matched, Permission, Record,
    http::grants::CONDITION_LIMIT,
    store::{Past, StoreError},
};

/// How far back an agent's earlier actions are counted.
const EARLIER: u32 = 50;

/// What the one who asks did before.
#[derive(Debug, Clone, Default)]
pub(super) struct Earlier {
    /// The newest first.
    pub(super) actions: Vec<Past>,
}

impl Earlier {
    pub(super) async fn of(center: &Center, record: &Record) -> Result<Self, StoreError> {
        let store = center.store();
        let actions =
            store.before(&record.server_id, record.created_at, record.id, EARLIER).await?;
        Ok(Self { actions })
    }

    /// Of those of an agent's actions that came before `id`.
    pub(super) fn before(&self, id: i64) -> impl Iterator<Item = &Past> {
        self.actions.iter().filter(move |past| past.id < id)
    }

    /// In one line.
    pub(super) fn line(&self, id: i64) -> Markup {
        let all: Vec<&Past> = self.before(id).collect();
        let number =
            |states: &[ActionState]| all.iter().filter(|past| states.contains(&past.state)).count();
        let told = [
            (number(&[ActionState::Completed, ActionState::Executing]), "ran"),
            (number(&[ActionState::Allowed, ActionState::Approved]), "let pass and not run yet"),
            (number(&[ActionState::Failed]), "failed"),
            (number(&[ActionState::Rejected]), "rejected"),
            (number(&[ActionState::Denied]), "denied"),
            (number(&[ActionState::Expired]), "expired"),
            (number(&[ActionState::Withdrawn]), "withdrawn"),
            (number(&[ActionState::Pending]), "waiting"),
        ];
        let told: Vec<String> = told
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| format!("{} {what}", count(*number)))
            .collect();
        let enough = u32::try_from(all.len()).is_ok_and(|seen| seen + 1 >= EARLIER);
        html! {
            @if all.is_empty() {
                "this is its first action"
            } @else {
                @if enough { "the last " }
                (counted(all.len(), "action")) ": " (told.join(", "))
            }
        }
    }
}

/// What stands on a card besides the action itself.
pub(super) struct Around<'a> {
    pub(super) visit: &'a Visit,
    pub(super) earlier: &'a Earlier,
    pub(super) now: Timestamp,
}

/// One card of the queue. Long arguments are cut, and it says so.
pub(super) fn card(record: &Record, around: &Around<'_>) -> Markup {
    let id = record.id;
    let (shown, whole) = arguments::preview(&record.parameters);
    html! {
        article.card.(edge(record.risk_level)) id=(format!("action-{id}")) data-id=(id) data-mark=(mark(record))
            tabindex="-1" aria-labelledby=(format!("title-{id}")) {
            header {
                (risk(record.risk_score, record.risk_level))
                h2 id=(format!("title-{id}")) {
                    a href=(format!("/actions/{id}")) { "#" (id) } " " bdi { (title(record)) }
                }
                p.left { (until(record.expires_at, around.now)) }
            }
            dl.facts { (what(record)) }
            div.what {
                div.values { @if record.parameters.is_empty() { p.quiet { "No arguments" } } @else { (shown) } }
                @if !whole {
                    p {
                        a.button data-whole href=(format!("/actions/{id}#arguments")) {
                            "Show all " (arguments::extent(&record.parameters))
                        }
                    }
                }
            }
            (about(record, around))
            (decide(record, around.visit))
        }
    }
}

/// What the action is, in a few words.
pub(super) fn title(record: &Record) -> Markup {
    match &record.summary {
        Some(summary) => visible(summary),
        None => {
            html! { (visible(&record.namespace)) "." (visible(&record.verb)) " " (visible(&record.resource)) }
        }
    }
}

const fn edge(level: RiskLevel) -> &'static str {
    super::words::level_word(level)
}

/// What can change while it waits, and what surrounds it.
fn about(record: &Record, around: &Around<'_>) -> Markup {
    html! {
        dl.facts.about {
            (why(record))
            (takes(record))
            div { dt { "Asked by" } dd { (who(record)) } }
            div { dt { "Since" } dd { (ago(record.created_at, around.now)) } }
            div {
                dt { "Before" }
                dd {
                    a href=(history_of(&record.server_id)) { bdi { (visible(&record.server_id)) } } ": "
                    (around.earlier.line(record.id))
                }
            }
        }
    }
}

/// Tool and resource.
pub(super) fn what(record: &Record) -> Markup {
    html! {
        div {
            dt { "Tool" }
            dd {
                @if !record.tool.is_empty() { bdi { b { (visible(&record.tool)) } } " " }
                code { (visible(&record.namespace)) "." (visible(&record.verb)) }
            }
        }
        div { dt { "Resource" } dd { code { bdi { (visible(&record.resource)) } } } }
    }
}

/// Which policies matched, and what each asks for.
pub(super) fn why(record: &Record) -> Markup {
    html! {
        div {
            dt { "Why" }
            dd {
                (visible(&record.reason))
                @if !record.matched.is_empty() {
                    ul.matched { @for matched in &record.matched { li { (policy(matched)) } } }
                }
            }
        }
    }
}

/// What its approval takes, and who has approved so far.
pub(super) fn takes(record: &Record) -> Markup {
    // Any one approver needs no words.
    let plain = record.rules.iter().all(|rule| rule.quorum == 1 && rule.approvers.is_none());
    let silent = record.rules.is_empty() || plain && record.votes.is_empty();
    html! {
        @if !silent {
            div {
                dt { "Takes" }
                dd {
                    ul.matched {
                        @for (rule, progress) in record.rules.iter().zip(record.progress()) {
                            li { (visible(&rule.to_string())) ": " b { (visible(&progress.to_string())) } }
                        }
                        @for vote in &record.votes {
                            li {
                                "approved by " bdi { b { (visible(&vote.person)) } }
                                @if let Some(grant) = vote.grant { ", by grant " (grant) }
                                @if vote.counts_for.is_empty() { " (counts no more)" }
                                @if let Some(comment) = &vote.comment { ": " bdi { (visible(comment)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Tells cards of one action apart, as votes come.
fn mark(record: &Record) -> String {
    votes_mark(record.votes.iter().map(|vote| (vote.person.as_str(), vote.at.as_millisecond())))
}

pub(super) fn votes_mark<'a>(votes: impl Iterator<Item = (&'a str, i64)>) -> String {
    let votes: Vec<String> = votes.map(|(person, at)| format!("{at}-{person}")).collect();
    if votes.is_empty() {
        return String::new();
    }
    hex::encode(&Sha256::digest(votes.join("\0"))[..8])
}

fn policy(matched: &Matched) -> Markup {
    html! {
        a href=(format!("/policies#{}", anchor(&matched.policy))) { code { (visible(&matched.policy)) } }
        " " span.effect.(effect(matched.effect)) { (matched.effect.keyword()) }
        @if let Some(risk) = matched.risk { " risk " (risk) }
        @if let Some(reason) = &matched.reason { ": " (visible(reason)) }
    }
}

pub(super) const fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Allow => "allow",
        Effect::RequireApproval => "approval",
        Effect::Deny => "deny",
    }
}

/// A policy's name as part of an address.
pub(super) fn anchor(id: &str) -> String {
    let mut out = String::from("policy-");
    out.extend(form_urlencoded::byte_serialize(id.as_bytes()));
    out
}

pub(super) fn history_of(agent: &str) -> String {
    let query: String =
        form_urlencoded::Serializer::new(String::new()).append_pair("agent", agent).finish();
    format!("/history?{query}")
}

/// Who asks, by which program and credential.
pub(super) fn who(record: &Record) -> Markup {
    html! {
        bdi { b { (visible(&record.server_id)) } }
        @if let Some(client) = &record.client { ", client " bdi { (visible(client)) } }
        ", session " bdi { code { (visible(&record.session_id)) } }
        ", credential " bdi { code { (visible(&record.requested_by)) } }
        @for (name, value) in &record.user_context {
            ", " bdi { (visible(name)) } " " bdi { code { (visible(&text_of(value))) } }
        }
    }
}

fn text_of(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The form by which a person decides. The digest says what was seen: where the
/// action is another one, nothing is decided.
pub(super) fn decide(record: &Record, visit: &Visit) -> Markup {
    let id = record.id;
    let digest = record.digest.to_string();
    let allowed = visit.may(Permission::Decide);
    html! {
        form.decide method="post" action=(format!("/actions/{id}/decide")) {
            (visit.csrf())
            input type="hidden" name="digest" value=(digest);
            label for=(format!("comment-{id}")) { "Comment" span.sr { " on action " (id) } }
            textarea #(format!("comment-{id}")) name="comment" rows="1" maxlength="4000" disabled[!allowed] {}
            button.approve type="submit" name="decision" value="approve" disabled[!allowed] {
                "Approve" span.sr { " action " (id) }
            }
            button.reject type="submit" name="decision" value="reject" disabled[!allowed] {
                "Reject" span.sr { " action " (id) }
            }
            @if allowed && record.takes_grants() { (also()) }
            p.confirm hidden {}
            @if has_voted(record, visit) {
                p.quiet {
                    "You approved it; it waits for others. "
                    button.link type="submit" formaction=(format!("/actions/{id}/take-back")) { "Take your approval back" }
                }
            }
            @if !allowed {
                p.quiet { "You are " (visit.person.role) "; approvers decide." }
            }
            p.digest.quiet { "digest " code title=(digest) { (digest[..12]) "…" } }
        }
    }
}

/// Whether they approved it themselves.
fn has_voted(record: &Record, visit: &Visit) -> bool {
    let name = visit.person.name.to_lowercase();
    record.votes.iter().any(|vote| vote.grant.is_none() && vote.person.to_lowercase() == name)
}

/// How much like it the approver need not be asked about again.
fn also() -> Markup {
    html! {
        details.also {
            summary { "Approve the same again, for a while" }
            p.quiet { "Calls by this agent of the same tool and action on the same resource, then have your approval: with whatever arguments, unless you give a condition." }
            label { "Minutes " input type="number" name="also_minutes" min="1" placeholder="30"; }
            label { "Calls " input type="number" name="also_calls" min="1" placeholder="10"; }
            label.when { "Only when " input name="also_when" maxlength=(CONDITION_LIMIT) spellcheck="false" autocomplete="off" placeholder="a condition in Cedar, as in a policy"; }
        }
    }
}

/// What stands in a card's place once the action does not wait any more.
pub(super) fn gone(record: &Record) -> Markup {
    html! {
        article.card.gone data-id=(record.id) {
            p { a href=(format!("/actions/{}", record.id)) { "#" (record.id) } " " (super::words::outcome(record)) " " (state(record.state)) }
        }
    }
}
