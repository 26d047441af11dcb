//! Actions that something was done with.

use std::collections::{HashSet, VecDeque};

use crate::ActionId;

/// So many actions that something happened to; the oldest are forgotten.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    ids: HashSet<ActionId>,
    order: VecDeque<ActionId>,
}

impl Recent {
    const LIMIT: usize = 65_536;

    pub(crate) fn contains(&self, id: &ActionId) -> bool {
        self.ids.contains(id)
    }

    /// Whether it was not there yet.
    pub(crate) fn insert(&mut self, id: &ActionId) -> bool {
        if !self.ids.insert(id.clone()) {
            return false;
        }
        self.order.push_back(id.clone());
        if self.order.len() > Self::LIMIT
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}
