//! The actions of this process that wait for a person, and the calls that wait
//! for them: identical ones wait for the same action.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    ActionId, Digest, Evaluation, Holder, TraceContext, context::CallNumber, digest::CallKey,
};

/// An action that waits for a person, or was allowed and is about to run.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) id: ActionId,
    /// As the authority knows it: an identical call may have another salt.
    pub(crate) digest: Digest,
    pub(crate) evaluation: Evaluation,
    pub(crate) what: String,
    /// Of the call that opened it.
    pub(crate) trace: Option<TraceContext>,
    pub(crate) until: Instant,
    /// `None` for one that no other call joins.
    pub(crate) place: Option<Place>,
    /// Cancelled when nobody can join it any more.
    pub(crate) over: CancellationToken,
}

/// Who may join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) server_id: String,
    /// Who calls.
    pub(crate) principal: String,
    pub(crate) call: CallKey,
}

#[derive(Debug, Default)]
pub(crate) struct Room(Mutex<Seats>);

#[derive(Debug)]
struct Seat {
    open: Arc<Open>,
    /// How many calls wait for it now.
    calls: usize,
    /// Once an agent was told that it waits on, and may come back from another
    /// session.
    kept: Option<Kept>,
    _over: DropGuard,
}

/// For whom an action is kept.
#[derive(Debug)]
struct Kept {
    /// All of them, as the authority knows them.
    holder: Holder,
    /// The calls that were told so, and did not give it up.
    calls: HashSet<CallNumber>,
}

/// What is to become of an action when the last call for it has left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Withdrawn,
    /// Everybody to whom it was promised gave it up.
    Abandoned(Holder),
}

impl Seat {
    /// Whether it is for the same call, by the same caller.
    fn is_for(&self, place: &Place) -> bool {
        self.open.place.as_ref() == Some(place)
    }

    /// The same, where it is kept by whoever comes back for it.
    fn is_kept_for(&self, place: &Place) -> bool {
        let own = self.open.place.as_ref();
        self.kept.is_some()
            && own.is_some_and(|own| own.call == place.call && own.server_id == place.server_id)
    }
}

impl Room {
    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The action that an identical call of the same caller waits for, or is to come
    /// back for. Other callers are asked about first.
    pub(crate) fn join(&self, place: &Place) -> Option<Arc<Open>> {
        let mut seats = self.seats();
        let seat = seats.get_mut(&place.call)?.iter_mut().find(|seat| seat.is_for(place))?;
        seat.calls += 1;
        Some(seat.open.clone())
    }

    /// Takes a seat for `open`, or joins the one that an identical call has, whose
    /// action is returned then; whether so.
    pub(crate) fn enter(&self, open: Open) -> (Arc<Open>, bool) {
        let mut seats = self.seats();
        let Some(place) = &open.place else { return (Arc::new(open), false) };
        // Mostly it stays at one, of thousands of calls that each wait for their own.
        let row = seats.entry(place.call).or_insert_with(|| Vec::with_capacity(1));
        let found = row.iter_mut().find(|seat| seat.is_for(place) || seat.is_kept_for(place));
        if let Some(seat) = found {
            seat.calls += 1;
            return (seat.open.clone(), true);
        }
        let open = Arc::new(open);
        let _over = open.over.clone().drop_guard();
        row.push(Seat { open: open.clone(), calls: 1, kept: None, _over });
        (open, false)
    }

    /// A call waits no more; `gives_up` where its agent does not want the action
    /// either. What is to become of it, if no other call waits for it, and it is
    /// not kept for any, or the process ends.
    pub(crate) fn leave(
        &self,
        open: &Arc<Open>,
        gives_up: Option<CallNumber>,
        closing: bool,
    ) -> Option<Left> {
        if open.place.is_none() {
            return Some(Left::Withdrawn);
        }
        let mut seats = self.seats();
        let (row, at) = find(&mut seats, open)?;
        let seat = &mut row[at];
        seat.calls -= 1;
        if let (Some(kept), Some(call)) = (&mut seat.kept, gives_up) {
            kept.calls.remove(&call);
        }
        let is_held = seat.kept.as_ref().is_some_and(|kept| !kept.calls.is_empty());
        if seat.calls > 0 || is_held && !closing {
            return None;
        }
        let seat = row.swap_remove(at);
        tidy(&mut seats, open);
        let abandoned = seat.kept.filter(|_| !is_held);
        Some(abandoned.map_or(Left::Withdrawn, |kept| Left::Abandoned(kept.holder)))
    }

    /// The action is decided or over: nobody joins it any more. Whether this
    /// call is the one that says so.
    pub(crate) fn clear(&self, open: &Arc<Open>) -> bool {
        if open.place.is_none() {
            return true;
        }
        let mut seats = self.seats();
        let Some((row, at)) = find(&mut seats, open) else { return false };
        row.swap_remove(at);
        tidy(&mut seats, open);
        true
    }

    /// Keeps the action for whoever makes this call, who may come back later. For
    /// whom the authority is to keep it, and whether that is new; `None` when it is
    /// decided or over, or would be new where there is no room for more.
    pub(crate) fn promise(
        &self,
        open: &Arc<Open>,
        call: CallNumber,
        has_room: bool,
    ) -> Option<(Holder, bool)> {
        let mut seats = self.seats();
        let (row, at) = find(&mut seats, open)?;
        let seat = &mut row[at];
        let is_first = seat.kept.is_none();
        if is_first && !has_room {
            return None;
        }
        let kept = seat
            .kept
            .get_or_insert_with(|| Kept { holder: Holder::random(), calls: HashSet::new() });
        kept.calls.insert(call);
        Some((kept.holder.clone(), is_first))
    }

    /// Clears the action if no call waits for it now. `None` when it was
    /// cleared before.
    pub(crate) fn clear_deserted(&self, open: &Arc<Open>) -> Option<bool> {
        let mut seats = self.seats();
        let (row, at) = find(&mut seats, open)?;
        let deserted = row[at].calls == 0;
        if deserted {
            row.swap_remove(at);
            tidy(&mut seats, open);
        }
        Some(deserted)
    }
}

type Seats = HashMap<CallKey, Vec<Seat>>;

fn find<'a>(seats: &'a mut Seats, open: &Arc<Open>) -> Option<(&'a mut Vec<Seat>, usize)> {
    let row = seats.get_mut(&open.place.as_ref()?.call)?;
    let at = row.iter().position(|seat| Arc::ptr_eq(&seat.open, open))?;
    Some((row, at))
}

fn tidy(seats: &mut Seats, open: &Open) {
    if let Some(place) = &open.place
        && seats.get(&place.call).is_some_and(Vec::is_empty)
    {
        seats.remove(&place.call);
    }
}
