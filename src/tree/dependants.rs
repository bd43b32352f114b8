use std::sync::Arc;

use super::{Child, Scope};

/// What names a held sibling in `depends_on` waits, when its group starts, until that has started.
impl Scope {
    /// The sibling that keeps a child from starting with its group: one that it depends on and that is held,
    /// or waits for such a one itself, or, released meanwhile, is on its way.
    pub(super) fn held_up_by(&self, child: &Child, group: &[Arc<Child>]) -> Option<Arc<Child>> {
        let on = child.depends_on().iter().filter_map(|on| self.child(on));
        on.into_iter().find(|on| {
            let gate = on.gate();
            let in_group = |on: &Child| {
                let instance = on.gate().instance();
                group
                    .iter()
                    .any(|member| member.gate().instance() == instance)
            };
            // Those of the same group have been waited for already.
            gate.is_held() || gate.waits_for().is_some() || (gate.is_coming() && !in_group(on))
        })
    }

    /// Starts those that waited for a sibling which has started now, or is down for good.
    pub(super) fn start_dependants(&self) {
        if !self.has_dependencies() {
            return;
        }
        // Before looking: what happens from here on makes the supervisor look again.
        self.core.let_dependants_wait(true);
        let mut waiting = false;
        for child in self.children() {
            let gate = child.gate();
            if gate.waits_for().is_none() {
                continue;
            }
            match self.held_up_by(&child, &[]) {
                Some(_) => waiting = true,
                None => {
                    gate.hold_for_group(false);
                    if child.is_over() {
                        self.revive(&child);
                    }
                }
            }
        }
        if !waiting {
            self.core.let_dependants_wait(false);
        }
    }
}
