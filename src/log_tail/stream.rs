use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use tokio::sync::futures::OwnedNotified;
use tracing::Level;

use super::{
    LogRecord,
    tail::{Shared, Tail, is_at_least},
};
use crate::spec::SupervisorPath;

/// What somebody who follows a tail reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogItem {
    /// A record.
    Record(LogRecord),
    /// So many records of a child are not to be had any more.
    Gap {
        /// The child.
        path: Arc<str>,
        /// How many, of whatever level.
        missed: u64,
    },
}

/// The records of a child, or of all children below a supervisor, from where it was taken; at the reader's
/// own pace. Who is behind by more than the tail holds finds a gap. It never ends.
///
/// # Cancel safety
///
/// Dropping a future of [`next`](Self::next) loses nothing.
pub struct LogStream {
    shared: Arc<Shared>,
    path: SupervisorPath,
    level: Level,
    /// How many of each child's records are behind the reader.
    read: HashMap<Arc<str>, Progress>,
    batch: VecDeque<LogItem>,
    waiting: Option<Pin<Box<OwnedNotified>>>,
}

struct Progress {
    /// One that made room for others may have come back with its count from the start.
    tail: Weak<Tail>,
    read: u64,
}

impl LogStream {
    pub(super) fn new(shared: Arc<Shared>, path: SupervisorPath) -> Self {
        let tails = shared.below(&path);
        let read = tails.iter().map(|tail| {
            let progress = Progress {
                tail: Arc::downgrade(tail),
                read: tail.total(),
            };
            (tail.path.clone(), progress)
        });
        Self {
            read: read.collect(),
            shared,
            path,
            level: Level::TRACE,
            batch: VecDeque::new(),
            waiting: None,
        }
    }

    /// Those alone that are at least so severe.
    #[must_use]
    pub fn at_least(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// The next record or gap.
    pub async fn next(&mut self) -> LogItem {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LogItem> {
        loop {
            if let Some(item) = self.batch.pop_front() {
                return Poll::Ready(item);
            }
            // Registered before reading, so that nothing added in between is missed.
            let mut waiting = self.waiting.take().unwrap_or_else(|| {
                let mut notified = Box::pin(self.shared.grown.clone().notified_owned());
                notified.as_mut().enable();
                notified
            });
            self.read_on();
            if !self.batch.is_empty() {
                self.waiting = Some(waiting);
                continue;
            }
            let grown = waiting.as_mut().poll(cx);
            self.waiting = grown.is_pending().then_some(waiting);
            ready!(grown);
        }
    }

    /// Everything there is that was not read yet, in the order it was logged.
    fn read_on(&mut self) {
        self.read
            .retain(|_, progress| progress.tail.strong_count() > 0);
        let mut records = Vec::new();
        for tail in self.shared.below(&self.path) {
            let progress = self.read.entry(tail.path.clone()).or_insert(Progress {
                tail: Arc::downgrade(&tail),
                read: 0,
            });
            if !std::ptr::eq(progress.tail.as_ptr(), Arc::as_ptr(&tail)) {
                *progress = Progress {
                    tail: Arc::downgrade(&tail),
                    read: 0,
                };
            }
            let part = tail.from(progress.read);
            progress.read = part.total;
            if part.missed > 0 {
                self.batch.push_back(LogItem::Gap {
                    path: tail.path.clone(),
                    missed: part.missed,
                });
            }
            records.extend(part.records);
        }
        records.retain(|record| is_at_least(record, self.level));
        records.sort_unstable_by_key(|record| record.sequence);
        self.batch.extend(records.into_iter().map(LogItem::Record));
    }
}

impl Stream for LogStream {
    type Item = LogItem;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<LogItem>> {
        self.get_mut().poll(cx).map(Some)
    }
}
