use std::any::{Any, TypeId};

/// What layers remember of a child, keyed by the layer. A few entries at most, none until a failure.
#[derive(Default)]
pub(super) struct Memory {
    entries: Vec<(usize, TypeId, Box<dyn Any + Send>)>,
}

impl Memory {
    pub(super) fn with<T: Default + Send + 'static, R>(
        &mut self,
        key: usize,
        f: impl FnOnce(&mut T) -> R,
    ) -> R {
        let kind = TypeId::of::<T>();
        let at = self
            .entries
            .iter()
            .position(|(k, t, _)| *k == key && *t == kind)
            .unwrap_or_else(|| {
                // Most children need one: no room for more until there are more.
                self.entries.reserve_exact(1);
                self.entries.push((key, kind, Box::new(T::default())));
                self.entries.len() - 1
            });
        match self.entries[at].2.downcast_mut() {
            Some(state) => f(state),
            None => unreachable!("an entry is found by its type"),
        }
    }

    pub(super) fn find<T: Send + 'static>(&mut self, key: usize) -> Option<&mut T> {
        let kind = TypeId::of::<T>();
        let entry = self
            .entries
            .iter_mut()
            .find(|(k, t, _)| *k == key && *t == kind)?;
        entry.2.downcast_mut()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}
