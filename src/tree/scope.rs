use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use supervisor_layers::{ChildStatus, Gate, StopCause, context::StopRequest, task::catch_panic};

use super::{
    Child, Tree,
    child::{AsChild, Place},
    core::ScopeCore,
    driver,
    order::start_order,
};
use crate::{
    SupervisorError,
    event::TreeEvent,
    spec::{
        Declare, DynamicChildren, EscalationPolicy, Member, Replicas, ShutdownOrder,
        SupervisionStrategy, SupervisorPath, SupervisorSpec, check_id,
    },
    sync::lock,
};

/// A supervisor: its settings and its children. Lives as long as its declaration; its *life* is a run of
/// its service.
pub(crate) struct Scope {
    pub(super) core: Arc<ScopeCore>,
    pub(crate) strategy: SupervisionStrategy,
    pub(super) escalation: EscalationPolicy,
    pub(super) shutdown_order: ShutdownOrder,
    pub(super) grace: Duration,
    pub(super) abort_wait: Duration,
    pub(super) dynamic: DynamicChildren,
    /// As a pool, what its replicas are made by.
    pub(super) replicas: Option<Replicas>,
    /// One change of a pool's size at a time.
    pub(super) scaling: tokio::sync::Mutex<()>,
    /// What makes children of declarations here.
    declare: Option<Arc<dyn Declare>>,
    /// Levels of supervisors above this one.
    depth: u32,
    children: Mutex<Children>,
    group_restarts: AtomicU64,
    begun: AtomicBool,
}

/// The children, by instance, which is their start order, and by name.
#[derive(Default)]
struct Children {
    by_instance: BTreeMap<u64, Arc<Child>>,
    by_name: HashSet<ById, foldhash::fast::RandomState>,
    /// How many children name a sibling in `depends_on`.
    depended_on: HashMap<String, usize>,
    live: bool,
}

impl Scope {
    /// The whole subtree as declared, nothing started.
    pub(super) fn build(
        spec: SupervisorSpec,
        path: &SupervisorPath,
        tree: &Arc<Tree>,
        above: Option<&Arc<dyn Declare>>,
    ) -> Result<Arc<Self>, SupervisorError> {
        let core = Arc::new(ScopeCore::new(path.clone(), tree.clone(), &spec));
        let declare = spec.declare.or_else(|| above.cloned());
        for member in &spec.members {
            check_id(member.id()).map_err(|source| SupervisorError::InvalidId {
                parent: path.clone(),
                source,
            })?;
        }
        let mut seen = HashSet::with_capacity(spec.members.len());
        if let Some(twice) = spec.members.iter().find(|member| !seen.insert(member.id())) {
            return Err(SupervisorError::DuplicateId {
                path: path.child(twice.id()),
            });
        }
        let order = start_order(&spec.members, spec.strategy).map_err(|unordered| {
            SupervisorError::InvalidDependency {
                path: path.child(&unordered.id),
                on: unordered.on,
                reason: unordered.reason,
            }
        })?;
        let added = tree.journal.now();
        let mut members: Vec<Option<Member>> = spec.members.into_iter().map(Some).collect();
        let mut built = Vec::with_capacity(members.len());
        for (level, at) in order {
            let Some(member) = members[at].take() else {
                continue;
            };
            let place = Place {
                core: &core,
                strategy: spec.strategy,
                level: Some(level),
                added,
            };
            let path = path.child(member.id());
            built.push(place.child(member, path, declare.as_ref())?);
        }
        let children = Children::of(built);
        let depth = u32::try_from(path.segments().count()).unwrap_or(u32::MAX);
        tree.note_depth(depth);
        let scope = Arc::new(Self {
            core,
            strategy: spec.strategy,
            escalation: spec.escalation,
            shutdown_order: spec.shutdown_order,
            grace: spec.grace,
            abort_wait: spec.abort_wait,
            dynamic: spec.dynamic,
            replicas: spec.replicas,
            scaling: tokio::sync::Mutex::default(),
            declare,
            depth,
            children: Mutex::new(children),
            group_restarts: AtomicU64::new(0),
            begun: AtomicBool::new(false),
        });
        let _ = scope.core.scope.set(Arc::downgrade(&scope));
        Ok(scope)
    }

    pub(crate) fn path(&self) -> &SupervisorPath {
        &self.core.path
    }

    pub(crate) fn tree(&self) -> &Arc<Tree> {
        &self.core.tree
    }

    pub(crate) fn core(&self) -> &Arc<ScopeCore> {
        &self.core
    }

    /// The children in start order.
    pub(crate) fn children(&self) -> Vec<Arc<Child>> {
        lock(&self.children).by_instance.values().cloned().collect()
    }

    /// Has `f` look at the children in start order, with their list locked: it must call nothing of the user's.
    pub(crate) fn look_at_children<T>(
        &self,
        f: impl FnOnce(&mut dyn ExactSizeIterator<Item = &Arc<Child>>) -> T,
    ) -> T {
        f(&mut lock(&self.children).by_instance.values())
    }

    /// What the child at a path relative to here is doing.
    pub(crate) fn status(&self, mut path: &str) -> Option<ChildStatus> {
        let mut below: Option<Arc<Self>> = None;
        loop {
            let scope = below.as_deref().unwrap_or(self);
            let Some((id, rest)) = path.split_once('/') else {
                let children = lock(&scope.children);
                return Some(children.by_name(path)?.gate().status());
            };
            below = Some(scope.child(id)?.scope()?.clone());
            path = rest;
        }
    }

    pub(crate) fn child(&self, id: &str) -> Option<Arc<Child>> {
        lock(&self.children).by_name(id).cloned()
    }

    /// The child at a path relative to here.
    pub(crate) fn find(&self, path: &SupervisorPath) -> Option<Arc<Child>> {
        let mut segments = path.segments();
        let mut child = self.child(segments.next()?)?;
        for id in segments {
            child = child.scope()?.child(id)?;
        }
        Some(child)
    }

    pub(super) fn by_instance(&self, instance: u64) -> Option<Arc<Child>> {
        lock(&self.children).by_instance.get(&instance).cloned()
    }

    pub(super) fn height(&self) -> u32 {
        self.tree().depth().saturating_sub(self.depth) + 1
    }

    pub(super) fn set_live(&self, live: bool) {
        lock(&self.children).live = live;
    }

    pub(crate) fn group_restarts(&self) -> u64 {
        self.group_restarts.load(Ordering::Relaxed)
    }

    pub(super) fn count_group_restart(&self) {
        self.group_restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether any child names a sibling in `depends_on`.
    pub(super) fn has_dependencies(&self) -> bool {
        !lock(&self.children).depended_on.is_empty()
    }

    /// A life begins: `true` for the first one.
    pub(super) fn begins(&self) -> bool {
        !self.begun.swap(true, Ordering::AcqRel)
    }

    /// Whether a life of it goes on.
    pub(super) fn is_live(&self) -> bool {
        lock(&self.children).live
    }

    /// The member that a declaration here stands for.
    pub(super) fn declared(
        &self,
        declaration: &serde_json::Value,
    ) -> Result<Member, SupervisorError> {
        let made = match &self.declare {
            // The factory is the user's.
            Some(declare) => catch_panic(|| declare.member(declaration))
                .unwrap_or_else(|panic| Err(panic.to_string())),
            None => Err("the program gave the tree no factories".to_owned()),
        };
        made.map_err(|reason| SupervisorError::InvalidDeclaration {
            parent: self.path().clone(),
            reason,
        })
    }

    /// Adds a member after all others; the caller starts it.
    pub(super) fn insert(
        &self,
        member: Member,
        coming: Coming,
        correlation: u64,
    ) -> Result<Arc<Child>, SupervisorError> {
        check_id(member.id()).map_err(|source| SupervisorError::InvalidId {
            parent: self.path().clone(),
            source,
        })?;
        let path = self.path().child(member.id());
        let added = self.tree().journal.now();
        let place = Place {
            core: &self.core,
            strategy: self.strategy,
            added,
            level: (coming == Coming::Replica).then_some(0),
        };
        let mut children = lock(&self.children);
        if !children.live || self.tree().is_closing() {
            return Err(SupervisorError::NotApplicable {
                command: "add_child",
                path: self.path().clone(),
                status: "not running".to_owned(),
            });
        }
        if !self.dynamic.enabled && coming == Coming::Added {
            return Err(
                self.not_dynamic("its dynamic_supervisor section says enabled: false".to_owned())
            );
        }
        if let Some(limit) = self
            .dynamic
            .child_limit
            .filter(|&limit| children.by_instance.len() >= limit)
        {
            return Err(self.not_dynamic(format!("its child_limit of {limit} is reached")));
        }
        if children.by_name.contains(member.id()) {
            return Err(SupervisorError::DuplicateId { path });
        }
        for on in member.depends_on() {
            let reason = match children.by_name(on) {
                None => "there is no such sibling",
                Some(sibling) if children.depends_on(sibling, member.id()) => {
                    "they would depend on each other in a circle"
                }
                Some(sibling) if sibling.is_leaving() => "it is being removed",
                Some(sibling) if sibling.gate().is_held() => {
                    "it is held down, and would have to start before"
                }
                Some(_) => continue,
            };
            return Err(SupervisorError::InvalidDependency {
                path,
                on: on.clone(),
                reason,
            });
        }
        let child = place.child(member, path, self.declare.as_ref())?;
        child.gate().correlate(correlation);
        children.insert(child.clone());
        self.tree().announce(&child, TreeEvent::ChildAdded, added);
        Ok(child)
    }

    fn not_dynamic(&self, reason: String) -> SupervisorError {
        SupervisorError::NotDynamic {
            path: self.path().clone(),
            reason,
        }
    }

    /// Gives a child a task, if it has none and `admit` has its gate let it run. `false`: it did not, or
    /// there is no such child any more, or no life of the supervisor.
    pub(super) fn launch(&self, child: &Arc<Child>, admit: impl FnOnce(&Gate) -> bool) -> bool {
        // With the children locked, so that nobody else does the same, and whoever ends them all or takes
        // this one out comes before or after.
        let children = lock(&self.children);
        let stands = children.live && children.have(child);
        let launched = stands && !child.is_leaving() && child.is_over() && admit(child.gate());
        if launched {
            driver::spawn(child);
        }
        launched
    }

    /// A child that is about to be taken out is launched no more. `false`: somebody takes it out already, or has.
    pub(crate) fn let_go(&self, child: &Child) -> Result<bool, SupervisorError> {
        let children = lock(&self.children);
        if child.is_leaving() || !children.have(child) {
            return Ok(false);
        }
        let dependants = children.dependants(child.gate().id());
        if !dependants.is_empty() {
            return Err(SupervisorError::HasDependants {
                path: child.path(),
                dependants: dependants.join(", "),
            });
        }
        child.leave();
        Ok(true)
    }

    /// All below, each supervisor before its children.
    pub(super) fn descendants(&self) -> Vec<Arc<Child>> {
        let mut all = Vec::new();
        for child in self.children() {
            let below = child.scope().map(|scope| scope.descendants());
            all.push(child);
            all.extend(below.into_iter().flatten());
        }
        all
    }

    /// Takes a child out whose run may go on: it stays accounted for until it has ended.
    pub(super) fn dismiss(&self, child: &Arc<Child>) {
        self.forget(child);
        self.note_lingering(child);
    }

    fn note_lingering(&self, child: &Arc<Child>) {
        if !child.is_gone() {
            child.gate().mark_lingering();
            self.tree().note_lingering(child);
        }
        for below in child.scope().iter().flat_map(|scope| scope.children()) {
            self.note_lingering(&below);
        }
    }

    /// Takes a child out; its name can be used again at once.
    pub(super) fn forget(&self, child: &Arc<Child>) {
        {
            let mut children = lock(&self.children);
            if children.remove(child) {
                let tree = self.tree();
                tree.announce(child, TreeEvent::Removed, tree.journal.now());
            }
        }
        // Those below may never have had a life of their supervisor: who waits for one waits no longer.
        for below in child.scope().iter().flat_map(|scope| scope.descendants()) {
            below.gate().end(StopCause::Removal, StopRequest::default());
        }
    }

    /// For another life: dynamic children are gone.
    pub(super) fn drop_dynamic(&self) {
        let dynamic: Vec<_> = self
            .children()
            .into_iter()
            .filter(|child| !child.is_declared())
            .collect();
        for child in dynamic {
            self.dismiss(&child);
        }
    }
}

impl Place<'_> {
    fn child(
        &self,
        member: Member,
        path: SupervisorPath,
        declare: Option<&Arc<dyn Declare>>,
    ) -> Result<Arc<Child>, SupervisorError> {
        Ok(match member {
            Member::Child(child) => Child::worker(child, &path, self),
            Member::Supervisor(supervisor) => {
                let as_child = AsChild::of(&supervisor);
                let scope = Scope::build(*supervisor, &path, &self.core.tree, declare)?;
                Child::supervisor(scope, as_child, self)
            }
        })
    }
}

/// How a child comes to a supervisor that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coming {
    /// Somebody added it; it ends with this life of the supervisor.
    Added,
    /// As one more of a pool: it is as the declared ones are.
    Replica,
}

/// A child, found by its name among its siblings.
struct ById(Arc<Child>);

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        self.0.gate().id()
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.gate().id().hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.gate().id() == other.0.gate().id()
    }
}

impl Eq for ById {}

impl Children {
    /// In start order; no two of one name.
    fn of(children: Vec<Arc<Child>>) -> Self {
        let mut all = Self {
            by_name: HashSet::with_capacity_and_hasher(children.len(), Default::default()),
            ..Self::default()
        };
        for child in &children {
            all.name(child);
        }
        // All at once, which fills the nodes.
        all.by_instance = children
            .into_iter()
            .map(|child| (child.gate().instance(), child))
            .collect();
        all
    }

    fn by_name(&self, id: &str) -> Option<&Arc<Child>> {
        Some(&self.by_name.get(id)?.0)
    }

    fn have(&self, child: &Child) -> bool {
        self.by_instance.contains_key(&child.gate().instance())
    }

    fn insert(&mut self, child: Arc<Child>) {
        self.name(&child);
        self.by_instance.insert(child.gate().instance(), child);
    }

    fn name(&mut self, child: &Arc<Child>) {
        for on in child.depends_on() {
            *self.depended_on.entry(on.clone()).or_default() += 1;
        }
        self.by_name.insert(ById(child.clone()));
    }

    /// Whether a child depends on that name, or on a sibling that does.
    fn depends_on(&self, child: &Child, id: &str) -> bool {
        let mut on = child.depends_on().iter();
        on.any(|on| on == id || self.by_name(on).is_some_and(|on| self.depends_on(on, id)))
    }

    /// Who names `id` in `depends_on`.
    fn dependants(&self, id: &str) -> Vec<String> {
        if !self.depended_on.contains_key(id) {
            return Vec::new();
        }
        let names = |child: &&Arc<Child>| child.depends_on().iter().any(|on| on == id);
        self.by_instance
            .values()
            .filter(names)
            .map(|child| child.path().to_string())
            .collect()
    }

    fn remove(&mut self, child: &Child) -> bool {
        if self.by_instance.remove(&child.gate().instance()).is_none() {
            return false;
        }
        self.by_name.remove(child.gate().id());
        for on in child.depends_on() {
            if let Some(count) = self.depended_on.get_mut(on) {
                *count -= 1;
                if *count == 0 {
                    self.depended_on.remove(on);
                }
            }
        }
        true
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("path", self.path())
            .field("strategy", &self.strategy)
            .finish_non_exhaustive()
    }
}
