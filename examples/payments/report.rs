//! What was seen: every run of every child by how it ended, and what became of every order.

use std::{collections::BTreeMap, fmt, sync::atomic::Ordering::Relaxed};

use rust_supervisor::{BoxError, NodeState, ShutdownResult, SupervisionStrategy, TreeState};
use serde::Serialize;

use crate::{
    books::{self, Audit},
    client::read_receipts,
    counted::{Counted, Exits},
    database::Connection,
    shop::Shop,
    witness::Witnesses,
};

#[derive(Serialize)]
pub struct Report {
    seconds: f64,
    children: BTreeMap<String, Child>,
    supervisors: BTreeMap<String, Group>,
    /// Over all children that are there at the end.
    exits: Exits,
    /// Over the replicas that are there no more, by the events.
    exits_of_removed: Exits,
    restarts: u64,
    /// Events that came too late to be seen.
    events_missed: u64,
    /// The exits counted from the events are those that the state tells.
    pub events_agree: bool,
    /// And so are those of metrics, journal file and audit file.
    pub witnesses: Witnesses,
    orders: Orders,
    /// What is wrong with the books.
    imbalance: Option<String>,
    pub shutdown: ShutdownResult,
}

#[derive(Serialize)]
struct Child {
    status: &'static str,
    runs: u64,
    exits: Exits,
    restarts: u64,
    /// How often it ran again after each kind of exit.
    restarts_after: Exits,
    /// The words of the last run that failed, as the events told them; a stop at the end is none.
    last_failure: Option<String>,
}

#[derive(Serialize)]
struct Group {
    strategy: SupervisionStrategy,
    /// Restarts of several children together.
    group_restarts: u64,
    /// Of its children, alone or in a group.
    restarts: u64,
}

#[derive(Serialize)]
struct Orders {
    /// Answers to malformed orders that said so, in this run.
    rejected: u64,
    #[serde(flatten)]
    audit: Audit,
}

impl Report {
    /// After the shutdown: the books are opened again and every order is followed through them.
    pub fn new(
        state: &TreeState,
        counted: &Counted,
        witnesses: Witnesses,
        shutdown: ShutdownResult,
        shop: &Shop,
    ) -> Result<Self, BoxError> {
        let children: BTreeMap<_, _> = state
            .iter()
            .filter(|node| node.supervisor.is_none())
            .map(|node| {
                let path = node.path.to_string();
                let last_failure = counted.last_failures.get(&path).cloned();
                (path, Child::new(node, last_failure))
            })
            .collect();
        let supervisors = state
            .iter()
            .filter_map(|node| Some((node.path.to_string(), Group::new(node)?)))
            .collect();
        let mut exits = Exits::new();
        let mut events_agree = true;
        let mut left = counted.exits.clone();
        for node in state.iter() {
            let path = node.path.to_string();
            let by_events = left.remove(&(path.clone(), node.instance));
            if let Some(child) = children.get(&path) {
                add(&mut exits, &child.exits);
                events_agree &= child.exits == by_events.unwrap_or_default();
            }
        }
        let mut exits_of_removed = Exits::new();
        left.values()
            .for_each(|more| add(&mut exits_of_removed, more));
        let connection = Connection::default();
        connection.open(&shop.database_file())?;
        let receipts = read_receipts(&shop.receipts_file())?;
        Ok(Self {
            seconds: state.uptime.as_secs_f64(),
            restarts: children.values().map(|child| child.restarts).sum(),
            children,
            supervisors,
            exits,
            exits_of_removed,
            events_missed: counted.missed,
            events_agree,
            witnesses,
            orders: Orders {
                rejected: shop.rejected.load(Relaxed),
                audit: connection.blocking(|db| books::audit(db, &receipts))?,
            },
            imbalance: connection.blocking(books::imbalance)?,
            shutdown,
        })
    }

    /// All that tells of this run tells the same.
    pub fn agrees(&self) -> bool {
        self.events_missed == 0 && self.events_agree && self.witnesses.agree()
    }

    /// Every order was settled exactly once, and the books balance.
    pub fn orders_safe(&self) -> bool {
        let audit = &self.orders.audit;
        audit.lost == 0 && audit.pending == 0 && self.imbalance.is_none()
    }
}

fn add(sum: &mut Exits, more: &Exits) {
    for (exit, count) in more {
        *sum.entry(*exit).or_default() += count;
    }
}

impl Child {
    fn new(node: &NodeState, last_failure: Option<String>) -> Self {
        let exits: Exits = node
            .exits
            .iter()
            .map(|(exit, count)| (*exit, *count))
            .filter(|(_, n)| *n > 0)
            .collect();
        // After the shutdown every run has ended, and all but the last were followed by another.
        let mut restarts_after = exits.clone();
        if let Some(last) = &node.last_exit {
            restarts_after
                .entry(last.exit)
                .and_modify(|count| *count -= 1);
            restarts_after.retain(|_, count| *count > 0);
        }
        Self {
            status: node.status.as_str(),
            runs: node.generation,
            exits,
            restarts: node.restarts,
            restarts_after,
            last_failure,
        }
    }
}

impl Group {
    fn new(node: &NodeState) -> Option<Self> {
        let supervisor = node.supervisor.as_ref()?;
        Some(Self {
            strategy: supervisor.strategy,
            group_restarts: supervisor.group_restarts,
            restarts: node.children.iter().map(|child| child.restarts).sum(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let audit = &self.orders.audit;
        write!(
            f,
            "{:.1} s, {} restarts, runs ended:",
            self.seconds, self.restarts
        )?;
        for (exit, count) in &self.exits {
            write!(f, " {count} {exit}")?;
        }
        for (path, group) in self
            .supervisors
            .iter()
            .filter(|(_, group)| group.group_restarts > 0)
        {
            write!(
                f,
                "\n{path} ({:?}): {} group restarts",
                group.strategy, group.group_restarts
            )?;
        }
        write!(
            f,
            "\norders: {} accepted, {} acknowledged, {} settled, {} rejected, {} pending, {} settled twice, {} lost",
            audit.accepted,
            audit.acknowledged,
            audit.settled,
            self.orders.rejected,
            audit.pending,
            audit.settled_twice,
            audit.lost,
        )?;
        match &self.imbalance {
            None => write!(f, "\nthe books balance")?,
            Some(what) => write!(f, "\nthe books do not balance: {what}")?,
        }
        for (record, agrees) in [
            ("state", self.events_agree),
            ("metrics", self.witnesses.metrics),
            ("journal file", self.witnesses.journal_file),
            ("audit file", self.witnesses.audit_file),
        ] {
            let agrees = if agrees {
                "as the events"
            } else {
                "not as the events"
            };
            write!(f, "\n{record}: {agrees}")?;
        }
        Ok(())
    }
}
