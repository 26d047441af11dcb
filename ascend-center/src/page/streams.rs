//! How many streams of events each person has open.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// The most streams of one person; a further one ends the oldest. A browser has
/// six connections to a host, and forms need some.
pub(super) const STREAMS: usize = 4;

#[derive(Debug, Default, Clone)]
pub(super) struct Streams(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_person: HashMap<String, Vec<(u64, CancellationToken)>>,
}

/// A place among a person's streams.
#[derive(Debug)]
pub(super) struct Stream {
    streams: Streams,
    person: String,
    number: u64,
    replaced: CancellationToken,
}

impl Streams {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, person: &str) -> Stream {
        let mut open = self.open();
        open.next += 1;
        let number = open.next;
        let replaced = CancellationToken::new();
        let streams = open.by_person.entry(person.to_owned()).or_default();
        streams.push((number, replaced.clone()));
        if streams.len() > STREAMS {
            let (_, oldest) = streams.remove(0);
            oldest.cancel();
        }
        drop(open);
        Stream { streams: self.clone(), person: person.to_owned(), number, replaced }
    }

    #[cfg(test)]
    fn of(&self, person: &str) -> usize {
        self.open().by_person.get(person).map_or(0, Vec::len)
    }
}

impl Stream {
    /// Resolves once a newer stream has taken its place.
    pub(super) async fn replaced(&self) {
        self.replaced.cancelled().await;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut open = self.streams.open();
        if let Some(streams) = open.by_person.get_mut(&self.person) {
            streams.retain(|(number, _)| *number != self.number);
            if streams.is_empty() {
                open.by_person.remove(&self.person);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_further_stream_ends_the_oldest() {
        let streams = Streams::default();
        let mut open: Vec<Stream> = (0..STREAMS).map(|_| streams.enter("alice")).collect();
        let other = streams.enter("bob");
        assert!(open.iter().all(|stream| !stream.replaced.is_cancelled()));
        open.push(streams.enter("alice"));
        open[0].replaced().await;
        assert!(open[1..].iter().all(|stream| !stream.replaced.is_cancelled()));
        assert!(!other.replaced.is_cancelled());
        assert_eq!(streams.of("alice"), STREAMS);
        drop(open);
        assert_eq!((streams.of("alice"), streams.of("bob")), (0, 1));
    }
}
