//! What the attributes say of an rmcp server's tools: in their listings, and to
//! the server that reads them alone in a way that nothing but an attribute can.

use std::cell::RefCell;

use rmcp::{
    handler::server::router::tool::ToolRouter,
    model::{MetaObject, Tool as Listing},
};
use serde_json::{Map, Value, json};

use crate::{Salt, ToolSpec};

/// The key in a listing's `_meta`, as in that of results.
const GOVERNANCE: &str = "governance";
const MARK: &str = "mark";

/// What an attribute says of a tool.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mark {
    Governed(&'static ToolSpec),
    Ungoverned { name: &'static str, reason: &'static str },
}

impl Mark {
    fn name(&self) -> &'static str {
        match self {
            Self::Governed(spec) => spec.name,
            Self::Ungoverned { name, .. } => name,
        }
    }

    /// What clients read in the listing.
    fn listed(&self) -> Map<String, Value> {
        let (governed, risk) = match self {
            Self::Governed(spec) => (true, spec.risk().into()),
            Self::Ungoverned { .. } => (false, Value::Null),
        };
        let mut listed = Map::from_iter([("governed".to_owned(), governed.into())]);
        if !risk.is_null() {
            listed.insert("risk".to_owned(), risk);
        }
        listed
    }
}

thread_local! {
    static READING: RefCell<Option<Reading>> = const { RefCell::new(None) };
}

/// A server reads its tools. The secret is new each time: what another process
/// says of the tools that it lists cannot pass for a mark.
struct Reading {
    secret: String,
    marks: Vec<Mark>,
}

/// The metadata of a tool with `mark`.
pub(crate) fn marked(meta: Option<MetaObject>, mark: Mark) -> MetaObject {
    let mut meta = meta.unwrap_or_default();
    let mut listed = mark.listed();
    READING.with_borrow_mut(|reading| {
        if let Some(Reading { secret, marks }) = reading {
            listed.insert(MARK.to_owned(), json!([secret, marks.len()]));
            marks.push(mark);
        }
    });
    meta.0.insert(GOVERNANCE.to_owned(), listed.into());
    meta
}

/// The tools that `list` makes, and what their attributes say of them.
pub(crate) fn read<T: RmcpTools>(list: impl FnOnce() -> T) -> Vec<(Listing, Option<Mark>)> {
    /// Ends the reading, also when `list` panics.
    struct Outer(Option<Reading>);
    impl Drop for Outer {
        fn drop(&mut self) {
            READING.set(self.0.take());
        }
    }

    let secret = hex::encode(Salt::random().public());
    let reading = Reading { secret: secret.clone(), marks: Vec::new() };
    let outer = Outer(READING.replace(Some(reading)));
    let listings = list().listings();
    let marks = READING.take().map(|reading| reading.marks).unwrap_or_default();
    drop(outer);
    listings
        .into_iter()
        .map(|mut listing| {
            let mark = take_mark(&mut listing, &secret)
                .and_then(|index| marks.get(index).copied())
                // A listing that was given another name is another tool's.
                .filter(|mark| mark.name() == listing.name);
            (listing, mark)
        })
        .collect()
}

/// Takes the mark out of the listing, where clients have no use for it.
fn take_mark(listing: &mut Listing, secret: &str) -> Option<usize> {
    let governance = listing.meta.as_mut()?.0.get_mut(GOVERNANCE)?.as_object_mut()?;
    let mark = governance.remove(MARK)?;
    let [Value::String(given), index] = &mark.as_array()?[..] else { return None };
    let index = usize::try_from(index.as_u64()?).ok()?;
    (given == secret).then_some(index)
}

/// The tools of an rmcp server: a [`ToolRouter`], or their listings.
pub trait RmcpTools: sealed::Sealed {
    #[doc(hidden)]
    fn listings(self) -> Vec<Listing>;
}

impl<S: Send + Sync + 'static> RmcpTools for ToolRouter<S> {
    fn listings(self) -> Vec<Listing> {
        self.list_all()
    }
}

impl RmcpTools for Vec<Listing> {
    fn listings(self) -> Vec<Listing> {
        self
    }
}

mod sealed {
    pub trait Sealed {}
    impl<S> Sealed for rmcp::handler::server::router::tool::ToolRouter<S> {}
    impl Sealed for Vec<rmcp::model::Tool> {}
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn listing(name: &'static str, meta: Option<MetaObject>) -> Listing {
        let mut listing = Listing::new(name, "", Arc::new(Map::new()));
        listing.meta = meta;
        listing
    }

    fn clock() -> Listing {
        let mark = Mark::Ungoverned { name: "clock", reason: "it only tells the time" };
        listing("clock", Some(marked(None, mark)))
    }

    #[test]
    fn a_mark_is_read_and_taken_out() {
        let read = read(|| vec![clock(), listing("other", None)]);
        assert!(matches!(read[0].1, Some(Mark::Ungoverned { name: "clock", .. })));
        assert!(read[1].1.is_none());
        let meta = read[0].0.meta.clone().unwrap_or_default().0;
        assert_eq!(Value::Object(meta), json!({ "governance": { "governed": false } }));
    }

    #[test]
    fn what_was_listed_elsewhere_is_no_mark() {
        let outside = clock();
        let mut earlier = None;
        let _ = read(|| {
            earlier = Some(clock());
            Vec::new()
        });
        let forged = json!({ "governance": { "governed": true, "mark": ["", 0] } });
        let forged = MetaObject(forged.as_object().cloned().unwrap_or_default());
        let tools = vec![outside, earlier.expect("it was read"), listing("x", Some(forged))];
        let read = read(|| {
            // Its mark is the first, for whoever guesses.
            let _ = clock();
            tools
        });
        assert!(read.iter().all(|(_, mark)| mark.is_none()), "{read:?}");
    }

    #[test]
    fn a_mark_does_not_follow_a_tool_to_another_name() {
        let read = read(|| {
            let mut renamed = clock();
            renamed.name = "delete_all".into();
            vec![renamed]
        });
        assert!(read[0].1.is_none());
    }

    #[test]
    fn a_listing_outside_of_a_reading_has_no_secret() {
        let _ = std::panic::catch_unwind(|| read(|| -> Vec<Listing> { panic!("as asked") }));
        let meta = clock().meta.unwrap_or_default().0;
        assert_eq!(Value::Object(meta), json!({ "governance": { "governed": false } }));
    }
}
