//! The tools that a server offers, checked before anything is served.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use rmcp::model::{JsonObject, Tool as Listing, ToolAnnotations};

use super::{
    error::{Mistake, Mistakes, ServeError, nearest},
    status_tool::{self, StatusTool},
};
use crate::{Governor, Location, Route, State, Tools};

/// Which of a server's tools clients may use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lists {
    /// `None`: all of them.
    pub(crate) allowed: Option<BTreeSet<String>>,
    pub(crate) blocked: BTreeSet<String>,
}

impl Lists {
    fn permits(&self, name: &str) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| allowed.contains(name))
            && !self.blocked.contains(name)
    }
}

/// What a tool's output schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// There is none.
    Content,
    Object,
    /// A value that only clients of 2026-07-28 take.
    Other,
}

impl Output {
    fn of(route: &Route) -> Self {
        match route.output_schema() {
            None => Self::Content,
            Some(schema) if schema.get("type") == Some(&"object".into()) => Self::Object,
            Some(_) => Self::Other,
        }
    }

    /// Whether the client was told of a schema, and holds results to it.
    pub(crate) fn is_listed(self, is_legacy: bool) -> bool {
        self == Self::Object || self == Self::Other && !is_legacy
    }
}

/// A tool as a server offers it: what is made once is made here.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) route: Route,
    pub(crate) output: Output,
    #[cfg(feature = "validate")]
    constraints: super::constraints::Constraints,
}

impl Offer {
    fn new(route: Route) -> Self {
        Self {
            route,
            output: Output::of(&route),
            #[cfg(feature = "validate")]
            constraints: super::constraints::Constraints::of(&route),
        }
    }

    /// A call's arguments, or what is wrong with them beside their types.
    #[cfg(feature = "validate")]
    pub(crate) fn check(&self, arguments: JsonObject) -> Result<JsonObject, String> {
        self.constraints.check(self.route.spec(), arguments)
    }

    #[cfg(not(feature = "validate"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as with `validate`")]
    pub(crate) fn check(&self, arguments: JsonObject) -> Result<JsonObject, String> {
        Ok(arguments)
    }
}

/// A tool as clients find it.
pub(crate) enum Entry<'a> {
    Open(&'a Offer),
    /// The server's own `approval_status`.
    StatusTool,
    Blocked,
    Unknown,
}

#[derive(Debug)]
pub(crate) struct Catalog {
    offers: HashMap<&'static str, Offer>,
    lists: Lists,
    has_status_tool: bool,
    /// In the order in which the tools were given.
    listed: Vec<Listing>,
}

impl Catalog {
    /// The tools, unless they or the rest of the server have `mistakes`.
    pub(crate) fn new(
        tools: &Tools,
        state: &State,
        lists: Lists,
        has_status_tool: bool,
        mut mistakes: Vec<Mistake>,
    ) -> Result<Self, ServeError> {
        let own = has_status_tool.then_some(status_tool::NAME);
        let mut offers = HashMap::new();
        let mut places: HashMap<&str, Location> = HashMap::new();
        for route in tools.routes() {
            let spec = route.spec();
            if own == Some(spec.name) {
                mistakes.push(Mistake::NameTaken { name: spec.name, location: spec.location });
            }
            match places.get(spec.name) {
                Some(&first) => mistakes.push(Mistake::DuplicateTool {
                    name: spec.name,
                    first,
                    second: spec.location,
                }),
                None => {
                    places.insert(spec.name, spec.location);
                    offers.insert(spec.name, Offer::new(*route));
                }
            }
            for requirement in spec.state {
                if !state.satisfies(requirement) {
                    mistakes.push(Mistake::MissingState {
                        tool: spec.name,
                        type_name: requirement.type_name(),
                    });
                }
            }
        }
        let named = lists
            .allowed
            .iter()
            .flatten()
            .map(|name| ("allow_tools", name))
            .chain(lists.blocked.iter().map(|name| ("block_tools", name)));
        for (list, name) in named {
            if !offers.contains_key(name.as_str()) && own != Some(name.as_str()) {
                let names = tools.routes().iter().map(|route| route.spec().name).chain(own);
                let suggestion = nearest(name, names);
                mistakes.push(Mistake::UnknownTool { list, name: name.clone(), suggestion });
            }
        }
        Mistakes::check(mistakes)?;
        let listed = tools
            .routes()
            .iter()
            .filter(|route| lists.permits(route.spec().name))
            .map(listing)
            .chain(own.filter(|name| lists.permits(name)).map(|_| StatusTool::listing()))
            .collect();
        Ok(Self { offers, lists, has_status_tool, listed })
    }

    /// Whether clients may use the server's own `approval_status`.
    pub(crate) fn offers_status_tool(&self) -> bool {
        matches!(self.find(status_tool::NAME), Entry::StatusTool)
    }

    pub(crate) fn find(&self, name: &str) -> Entry<'_> {
        match self.offers.get(name) {
            None if !(self.has_status_tool && name == status_tool::NAME) => Entry::Unknown,
            _ if !self.lists.permits(name) => Entry::Blocked,
            Some(offer) => Entry::Open(offer),
            None => Entry::StatusTool,
        }
    }

    /// A tool as `tools/list` shows it.
    pub(crate) fn listing(&self, name: &str) -> Option<&Listing> {
        self.listed.iter().find(|tool| tool.name == name)
    }

    /// What `tools/list` answers.
    pub(crate) fn listed(&self) -> &[Listing] {
        &self.listed
    }

    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.listed.iter().map(|tool| &*tool.name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// The governors that tools are bound to by themselves.
    pub(crate) fn governors(&self) -> impl Iterator<Item = Governor> {
        self.offers.values().filter_map(|offer| offer.route.governor())
    }
}

fn listing(route: &Route) -> Listing {
    let spec = route.spec();
    let description = format!("{} [Risk: {}]", spec.description, spec.risk());
    let mut tool = Listing::new(spec.name, description, Arc::new(route.input_schema()));
    tool.title = spec.title.map(str::to_owned);
    tool.output_schema = route.output_schema().map(Arc::new);
    let hints = spec.annotations();
    tool.annotations = Some(ToolAnnotations::from_raw(
        None,
        hints.read_only,
        hints.destructive,
        hints.idempotent,
        hints.open_world,
    ));
    tool
}
