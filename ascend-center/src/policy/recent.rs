//! What was called before, for policies that limit how often, or how much.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    parts::Parts,
    reads::{Read, reads},
    tools::Named,
};

/// What a limit counts over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Scope {
    /// The calls of this agent.
    Agent,
    /// The calls of this tool by this agent.
    Tool,
    /// The calls on this resource, by anyone.
    Resource,
    /// The calls under this credential, whatever agent they say they are.
    Credential,
}

/// How far back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Window {
    Minute,
    Hour,
    Day,
}

impl Scope {
    pub(crate) const ALL: [Self; 4] = [Self::Agent, Self::Tool, Self::Resource, Self::Credential];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Tool => "tool",
            Self::Resource => "resource",
            Self::Credential => "credential",
        }
    }
}

impl Window {
    pub(crate) const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    pub(super) const fn calls(self) -> &'static str {
        match self {
            Self::Minute => "calls_1m",
            Self::Hour => "calls_1h",
            Self::Day => "calls_24h",
        }
    }

    pub(super) const fn sum(self) -> &'static str {
        match self {
            Self::Minute => "sum_1m",
            Self::Hour => "sum_1h",
            Self::Day => "sum_24h",
        }
    }

    pub(crate) const fn length(self) -> SignedDuration {
        match self {
            Self::Minute => SignedDuration::from_mins(1),
            Self::Hour => SignedDuration::from_hours(1),
            Self::Day => SignedDuration::from_hours(24),
        }
    }
}

/// What policies read of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(super) parts: Parts,
    /// The tools whose arguments they name.
    pub(super) arguments: Named,
    /// For which scope the calls of which windows; whether their arguments too.
    pub(crate) windows: BTreeMap<(Scope, Window), bool>,
}

impl Needs {
    pub(super) fn everything() -> Self {
        let all =
            Scope::ALL.into_iter().flat_map(|scope| Window::ALL.map(|window| (scope, window)));
        Self {
            parts: Parts::all(),
            arguments: Named::all(),
            windows: all.map(|key| (key, true)).collect(),
        }
    }

    /// Whether nothing must be counted.
    pub(crate) fn counts_nothing(&self) -> bool {
        self.windows.is_empty()
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.parts.add(&other.parts);
        self.arguments.add(&other.arguments);
        for (key, sums) in &other.windows {
            *self.windows.entry(*key).or_default() |= sums;
        }
    }

    /// What one policy reads, by its JSON form: `context.recent.tool.calls_1h`.
    /// Whatever names `recent` otherwise needs everything.
    pub(super) fn of(policy: &Value) -> Self {
        let reads = reads(policy);
        let mut needs = Self {
            parts: Parts::of(policy, &reads),
            arguments: Named::of(&reads),
            ..Self::default()
        };
        for Read { of_context, names } in &reads {
            match names.as_slice() {
                ["recent", scope, measure] if *of_context => match measured(scope, measure) {
                    Some((key, sums)) => *needs.windows.entry(key).or_default() |= sums,
                    None => needs.windows.extend(Self::everything().windows),
                },
                [] => needs.windows.extend(Self::everything().windows),
                names if names.contains(&"recent") => {
                    needs.windows.extend(Self::everything().windows);
                }
                _ => {}
            }
        }
        needs
    }
}

/// What `scope.measure` counts, and whether it sums.
fn measured(scope: &str, measure: &str) -> Option<((Scope, Window), bool)> {
    let scope = Scope::ALL.into_iter().find(|known| known.as_str() == scope)?;
    Window::ALL.into_iter().find_map(|window| {
        let known = [(window.calls(), false), (window.sum(), true)];
        let (_, sums) = known.into_iter().find(|(name, _)| *name == measure)?;
        Some(((scope, window), sums))
    })
}

/// How often, and how much, this call included. What nobody counted stands at
/// this call alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Recent {
    /// By this agent.
    #[serde(skip_serializing_if = "Counts::is_empty")]
    pub agent: Counts,
    /// Of this tool by this agent.
    #[serde(skip_serializing_if = "Counts::is_empty")]
    pub tool: Counts,
    /// On this resource, by anyone.
    #[serde(skip_serializing_if = "Counts::is_empty")]
    pub resource: Counts,
    /// Under this credential.
    #[serde(skip_serializing_if = "Counts::is_empty")]
    pub credential: Counts,
}

/// Calls, and the sums of their numeric arguments, by window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Counts {
    /// Calls within a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_1m: Option<i64>,
    /// Calls within an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_1h: Option<i64>,
    /// Calls within 24 hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_24h: Option<i64>,
    /// Sums within a minute, by argument.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sum_1m: BTreeMap<String, i64>,
    /// Sums within an hour, by argument.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sum_1h: BTreeMap<String, i64>,
    /// Sums within 24 hours, by argument.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sum_24h: BTreeMap<String, i64>,
}

impl Counts {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn calls(&self, window: Window) -> i64 {
        let calls = match window {
            Window::Minute => self.calls_1m,
            Window::Hour => self.calls_1h,
            Window::Day => self.calls_24h,
        };
        calls.unwrap_or(1)
    }

    pub(super) fn sums(&self, window: Window) -> &BTreeMap<String, i64> {
        match window {
            Window::Minute => &self.sum_1m,
            Window::Hour => &self.sum_1h,
            Window::Day => &self.sum_24h,
        }
    }

    pub(crate) fn set(&mut self, window: Window, calls: i64, sums: BTreeMap<String, i64>) {
        let (to_calls, to_sums) = match window {
            Window::Minute => (&mut self.calls_1m, &mut self.sum_1m),
            Window::Hour => (&mut self.calls_1h, &mut self.sum_1h),
            Window::Day => (&mut self.calls_24h, &mut self.sum_24h),
        };
        *to_calls = Some(calls);
        *to_sums = sums;
    }
}

impl Recent {
    pub(crate) fn of(&self, scope: Scope) -> &Counts {
        match scope {
            Scope::Agent => &self.agent,
            Scope::Tool => &self.tool,
            Scope::Resource => &self.resource,
            Scope::Credential => &self.credential,
        }
    }

    /// Takes what `counted` has.
    pub(crate) fn overlay(&mut self, counted: &Self) {
        for scope in Scope::ALL {
            let (to, from) = (self.of_mut(scope), counted.of(scope));
            to.calls_1m = from.calls_1m.or(to.calls_1m);
            to.calls_1h = from.calls_1h.or(to.calls_1h);
            to.calls_24h = from.calls_24h.or(to.calls_24h);
            to.sum_1m.extend(from.sum_1m.clone());
            to.sum_1h.extend(from.sum_1h.clone());
            to.sum_24h.extend(from.sum_24h.clone());
        }
    }

    pub(crate) fn of_mut(&mut self, scope: Scope) -> &mut Counts {
        match scope {
            Scope::Agent => &mut self.agent,
            Scope::Tool => &mut self.tool,
            Scope::Resource => &mut self.resource,
            Scope::Credential => &mut self.credential,
        }
    }
}
