//! The server's state, by type.

use std::{
    any::{Any, TypeId, type_name},
    collections::HashMap,
    sync::Arc,
};

/// What a server gives to the `#[state]` parameters of its tools: at most one
/// value of each type, cloned for each call.
#[derive(Clone, Default)]
pub struct State(Arc<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl State {
    /// Holds `value`, in the place of an earlier one of the same type.
    pub fn insert<T: Clone + Send + Sync + 'static>(&mut self, value: T) {
        Arc::make_mut(&mut self.0).insert(TypeId::of::<T>(), Arc::new(value));
    }

    /// A clone of the value of type `T`.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn get<T: Clone + Send + Sync + 'static>(&self) -> Result<T, MissingState> {
        self.0
            .get(&TypeId::of::<T>())
            .and_then(|value| value.downcast_ref::<T>())
            .cloned()
            .ok_or(MissingState { type_name: type_name::<T>() })
    }

    /// Whether the requirement is met.
    #[must_use]
    pub fn satisfies(&self, requirement: &StateRequirement) -> bool {
        self.0.contains_key(&(requirement.type_id)())
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State({} values)", self.0.len())
    }
}

/// A type that a tool takes from the server's state.
#[derive(Debug, Clone, Copy)]
pub struct StateRequirement {
    type_id: fn() -> TypeId,
    type_name: fn() -> &'static str,
}

impl StateRequirement {
    /// The requirement of a value of type `T`.
    #[must_use]
    pub const fn of<T: 'static>() -> Self {
        Self { type_id: TypeId::of::<T>, type_name: type_name::<T> }
    }

    /// The type's name.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        (self.type_name)()
    }
}

/// The server holds no state of a type that a tool takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server has no state of type `{type_name}`; give it with `.state(…)`")]
pub struct MissingState {
    /// The type's name.
    pub type_name: &'static str,
}
