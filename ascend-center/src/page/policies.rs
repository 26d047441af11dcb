//! The policies in use, as they are written, and when each matched last.

use std::collections::{BTreeMap, HashMap};

use axum::{extract::State, response::Response};
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    Refused,
    card::{anchor, effect},
    shell::{Tab, Visit},
    text::{block, visible},
    words::{ago, count, counted, time},
};
use crate::{
    Permission,
    http::Face,
    policy::{Engine, Listed, Policies},
};

/// In how many of the newest actions matches are counted.
const COUNTED: u32 = 10_000;

/// How often a policy matched, and when last.
#[derive(Debug, Clone, Copy)]
struct Matched {
    times: usize,
    last: Timestamp,
    action: i64,
}

pub(super) async fn show(State(face): State<Face>, visit: Visit) -> Result<Response, Refused> {
    let actions = face.center.store().matches(COUNTED).await?;
    let mut matched: HashMap<String, Matched> = HashMap::new();
    for action in &actions {
        for policy in &action.matched {
            // The newest comes first.
            matched
                .entry(policy.policy.clone())
                .or_insert(Matched { times: 0, last: action.at, action: action.action })
                .times += 1;
        }
    }
    let read = visit.may(Permission::Decide);
    let policies = face.center.policies();
    let content = html! {
        h1 { "Policies" }
        (status(policies, read))
        @if actions.len() >= COUNTED as usize {
            p.quiet { "Matches are counted in the newest " (count(actions.len())) " actions." }
        }
        (files(&policies.engine(), Some(&matched), read))
        @if let Some(shadow) = face.center.shadow_policies() {
            h2 { "Shadow policies" }
            p { "They are asked beside those in use, and decide nothing." }
            (status(shadow, read))
            (files(&shadow.engine(), None, read))
        }
    };
    Ok(visit.page("Policies", Tab::Policies, content))
}

fn status(policies: &Policies, read: bool) -> Markup {
    let status = policies.status();
    html! {
        dl.facts {
            div { dt { "From" } dd { code { (visible(&policies.source())) } } }
            div { dt { "In use" } dd { @if status.policies == 1 { "1 policy" } @else { (count(status.policies)) " policies" } } }
            @if let Some(at) = status.loaded_at { div { dt { "Since" } dd { (time(at)) } } }
            div { dt { "Hash" } dd { code.digest { (policies.engine().hash()) } } }
        }
        @if let Some(refused) = &status.refused {
            div.notice.bad role="alert" {
                p { "The files as they are now have mistakes; the earlier set stays in use." }
                @if read {
                    ul { @for problem in &refused.problems { li { pre { (block(&problem.to_string())) } } } }
                }
            }
        }
    }
}

fn files(engine: &Engine, matched: Option<&HashMap<String, Matched>>, read: bool) -> Markup {
    let mut files: BTreeMap<String, Vec<Listed<'_>>> = BTreeMap::new();
    for policy in engine.listed() {
        files.entry(policy.place.file.display().to_string()).or_default().push(policy);
    }
    html! {
        @for (file, policies) in &files {
            section.file {
                h2 { code { (visible(file)) } }
                @for policy in policies { (shown(policy, matched, read)) }
            }
        }
    }
}

fn shown(policy: &Listed<'_>, matched: Option<&HashMap<String, Matched>>, read: bool) -> Markup {
    let now = Timestamp::now();
    html! {
        article.policy id=[matched.is_some().then(|| anchor(policy.id))] {
            h3 { code { (visible(policy.id)) } }
            p {
                span.effect.(effect(policy.effect)) { (policy.effect.keyword()) }
                @if let Some(risk) = policy.risk { " risk " b { (risk) } }
                @if let Some(reason) = policy.reason { " " (visible(reason)) }
            }
            @if let Some(matched) = matched {
                p.quiet {
                    @match matched.get(policy.id) {
                        None => "never matched",
                        Some(found) => {
                            "matched " (counted(found.times, "time")) ", last " (ago(found.last, now)) " by "
                            a href=(format!("/actions/{}", found.action)) { "#" (found.action) }
                        }
                    }
                }
            }
            @if read {
                details {
                    summary { "Source, line " (policy.place.line) }
                    pre.value.code tabindex="0" { (block(policy.text)) }
                }
            }
        }
    }
}
