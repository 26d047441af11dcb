//! The tools that a server offers, checked before anything is served.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use rmcp::model::{JsonObject, Tool as Listing, ToolAnnotations};

use super::{
    error::{Mistake, Mistakes, ServeError, nearest},
    marks::Mark,
    rmcp_server::{self, RmcpServer, RmcpTool},
    status_tool::{self, StatusTool},
};
use crate::{Governor, Location, Route, State, Tools, manifest};

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

/// The tools that are not governed functions.
#[derive(Debug, Default)]
pub(crate) struct Others {
    pub(crate) servers: Vec<RmcpServer>,
    /// Tools that may run ungoverned, and why.
    pub(crate) exempt: Vec<(String, String)>,
}

impl Others {
    fn tools(&self) -> impl Iterator<Item = &(Listing, Option<Mark>)> {
        self.servers.iter().flat_map(|server| &server.tools)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.tools().map(|(listing, _)| &*listing.name)
    }

    /// Why `name` may run ungoverned.
    fn reason<'a>(&'a self, name: &str, mark: Option<&Mark>) -> Option<&'a str> {
        match mark {
            Some(Mark::Ungoverned { reason, .. }) => Some(reason),
            Some(Mark::Governed(_)) => None,
            None => self.exempt.iter().find(|(tool, _)| tool == name).map(|(_, why)| &**why),
        }
    }

    /// For the manifest.
    pub(crate) fn entries(&self) -> impl Iterator<Item = serde_json::Value> {
        self.tools().map(|(listing, mark)| match mark {
            Some(Mark::Governed(spec)) => manifest::of_method(spec, listing),
            _ => manifest::of_ungoverned(listing, self.reason(&listing.name, mark.as_ref())),
        })
    }

    fn check(&self, mistakes: &mut Vec<Mistake>) {
        for (listing, mark) in self.tools() {
            let name = &*listing.name;
            if mark.is_none() && self.reason(name, None).is_none() {
                mistakes.push(Mistake::Ungoverned { name: name.to_owned() });
            }
        }
        let mut named = HashSet::new();
        for (name, reason) in &self.exempt {
            let name = name.clone();
            if reason.trim().is_empty() {
                mistakes.push(Mistake::NoReason { name: name.clone() });
            }
            match self.tools().find(|(listing, _)| listing.name == name) {
                Some((_, Some(mark))) => {
                    let governed = matches!(mark, Mark::Governed(_));
                    mistakes.push(Mistake::NotUngoverned { name, governed });
                }
                Some((_, None)) if !named.insert(name.clone()) => {
                    mistakes.push(Mistake::NotUngoverned { name, governed: false });
                }
                Some((_, None)) => {}
                None => {
                    let suggestion = nearest(&name, self.names()).map(str::to_owned);
                    mistakes.push(Mistake::UnknownTool { list: "ungoverned", name, suggestion });
                }
            }
        }
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
    Rmcp(&'a RmcpTool),
    /// The server's own `approval_status`.
    StatusTool,
    Blocked,
    Unknown,
}

#[derive(Debug)]
pub(crate) struct Catalog {
    offers: HashMap<&'static str, Offer>,
    rmcp: HashMap<String, RmcpTool>,
    /// Those of them that nobody is asked about, and why.
    ungoverned: Vec<(String, String)>,
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
        others: Others,
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
        others.check(&mut mistakes);
        let mut taken: HashSet<&str> = places.keys().copied().chain(own).collect();
        for name in others.names() {
            if !taken.insert(name) {
                mistakes.push(Mistake::SameName { name: name.to_owned() });
            }
        }
        let named = lists
            .allowed
            .iter()
            .flatten()
            .map(|name| ("allow_tools", name))
            .chain(lists.blocked.iter().map(|name| ("block_tools", name)));
        for (list, name) in named {
            if !taken.contains(name.as_str()) {
                let suggestion = nearest(name, taken.iter().copied()).map(str::to_owned);
                mistakes.push(Mistake::UnknownTool { list, name: name.clone(), suggestion });
            }
        }
        Mistakes::check(mistakes)?;
        let described =
            others.tools().map(|(tool, mark)| rmcp_server::described(tool, mark.as_ref()));
        let listed = tools
            .routes()
            .iter()
            .map(listing)
            .chain(described)
            .filter(|tool| lists.permits(&tool.name))
            .chain(own.filter(|name| lists.permits(name)).map(|_| StatusTool::listing()))
            .collect();
        let ungoverned = others
            .tools()
            .filter_map(|(tool, mark)| {
                let reason = others.reason(&tool.name, mark.as_ref())?;
                lists.permits(&tool.name).then(|| (tool.name.to_string(), reason.to_owned()))
            })
            .collect();
        let rmcp = others
            .servers
            .into_iter()
            .flat_map(|RmcpServer { handler, tools }| {
                tools.into_iter().map(move |(listing, mark)| {
                    let name = listing.name.to_string();
                    (name, RmcpTool::new(handler.clone(), listing, mark.as_ref()))
                })
            })
            .collect();
        Ok(Self { offers, rmcp, ungoverned, lists, has_status_tool, listed })
    }

    /// Whether clients may use the server's own `approval_status`.
    pub(crate) fn offers_status_tool(&self) -> bool {
        matches!(self.find(status_tool::NAME), Entry::StatusTool)
    }

    pub(crate) fn find(&self, name: &str) -> Entry<'_> {
        let entry = if let Some(offer) = self.offers.get(name) {
            Entry::Open(offer)
        } else if let Some(tool) = self.rmcp.get(name) {
            Entry::Rmcp(tool)
        } else if self.has_status_tool && name == status_tool::NAME {
            Entry::StatusTool
        } else {
            return Entry::Unknown;
        };
        if self.lists.permits(name) { entry } else { Entry::Blocked }
    }

    /// The tools that nobody is asked about, and why.
    pub(crate) fn ungoverned(&self) -> impl Iterator<Item = (&str, &str)> {
        self.ungoverned.iter().map(|(tool, reason)| (&**tool, &**reason))
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
