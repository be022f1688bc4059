//! What dialects keep for the whole server, for their requests that wait and those that do not. What it is,
//! each dialect knows alone.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// One value of each type that a dialect asks for. There are as many as dialects.
#[derive(Default)]
pub struct DialectStates(Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl DialectStates {
    /// The value of this type, which is made at the first call.
    pub fn of<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = states.get(&TypeId::of::<T>())
            && let Ok(state) = Arc::clone(state).downcast()
        {
            return state;
        }
        let state = Arc::new(make());
        states.insert(TypeId::of::<T>(), Arc::clone(&state) as Arc<dyn Any + Send + Sync>);
        state
    }
}

impl fmt::Debug for DialectStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DialectStates")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_one_value_that_is_made_once() {
        let states = DialectStates::default();
        let (first, again) = (states.of(|| 1_u32), states.of(|| 2_u32));
        assert!(Arc::ptr_eq(&first, &again) && *again == 1);
        assert_eq!(*states.of(|| "other"), "other");
    }
}
