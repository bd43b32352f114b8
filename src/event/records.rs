use std::{collections::VecDeque, sync::Arc};

use supervisor_layers::{context::PlainEnd, policy::Nanos};

use super::{
    entry::{Entry, Kinds, LastEnd, Plain, Told},
    ring::Origin,
};

/// What one lane of the ring remembers: records in the order of their sequences.
#[derive(Default)]
pub(super) struct Records {
    records: VecDeque<Record>,
    /// What those have to say that are told, in the same order.
    told: Numbered<Told>,
    /// Whose they are: those in a row that are of one are so of one entry here.
    whose: Numbered<Whose>,
}

/// One append.
#[derive(Clone, Copy)]
pub(super) struct Record {
    /// Of its first event.
    pub(super) sequence: u64,
    pub(super) uptime: Nanos,
    pub(super) generation: u64,
    pub(super) correlation: u64,
    pub(super) attempt: u32,
    /// Under this number.
    whose: u32,
    what: What,
}

pub(super) struct Whose {
    pub(super) path: Arc<str>,
    pub(super) instance: u64,
}

#[derive(Clone, Copy)]
enum What {
    Plain(Plain),
    End(PlainEnd),
    Last(LastEnd),
    /// Told under this number, as so many events.
    Told {
        number: u32,
        count: u8,
    },
}

impl Record {
    /// The sequence after its last event.
    fn end(&self) -> u64 {
        let count = match self.what {
            What::Plain(_) => 1,
            What::End(_) => PlainEnd::EVENTS,
            What::Last(_) => LastEnd::EVENTS,
            What::Told { count, .. } => count,
        };
        self.sequence + u64::from(count)
    }
}

impl Records {
    /// For how many records there is room from the first one on, in some 500 KiB. Where memory is there when it is
    /// touched, as nearly everywhere, that costs nothing; what grows is copied into memory that nobody has touched.
    const ROOM: usize = 8192;

    /// Of a ring that remembers so many, and has forgotten nothing yet: from then on a lane has what its thread needs.
    #[inline]
    pub(super) fn open(&mut self, capacity: usize) {
        if self.records.capacity() == 0 {
            let room = capacity.min(Self::ROOM);
            self.records.reserve_exact(room);
            // Hardly anybody has one record in a row alone.
            self.whose.queue.reserve_exact(room / 2);
        }
    }

    #[inline]
    pub(super) fn push(
        &mut self,
        sequence: u64,
        uptime: Nanos,
        origin: Origin<'_>,
        correlation: u64,
        entry: Entry<'_>,
    ) {
        let whose = self.name(&origin);
        let what = self.tell(entry);
        self.records.push_back(Record {
            sequence,
            uptime,
            generation: origin.generation,
            correlation,
            attempt: origin.attempt,
            whose,
            what,
        });
    }

    /// A count of a path is a place where threads meet, and one that few have used lately.
    fn name(&mut self, origin: &Origin<'_>) -> u32 {
        match self.whose.last() {
            Some((number, last))
                if last.instance == origin.instance && Arc::ptr_eq(&last.path, origin.path) =>
            {
                number
            }
            _ => self.whose.push(Whose {
                path: origin.path.clone(),
                instance: origin.instance,
            }),
        }
    }

    fn tell(&mut self, entry: Entry<'_>) -> What {
        let count = entry.count();
        let told = match entry {
            Entry::Plain(plain) => return What::Plain(plain),
            Entry::End(end) => match end.plain() {
                Some(plain) => return What::End(plain),
                None => Told::End(end.clone()),
            },
            Entry::Last(end) => return What::Last(end),
            Entry::Command(command) => Told::Command(command),
            Entry::Other(kind) => Told::Other(kind),
        };
        let number = self.told.push(told);
        What::Told { number, count }
    }

    /// Takes out the oldest record, if all of it is older than `first`.
    #[inline]
    pub(super) fn forget(&mut self, first: u64) -> bool {
        let oldest = self.records.front().copied();
        let Some(oldest) = oldest.filter(|oldest| oldest.end() <= first) else {
            return false;
        };
        self.records.pop_front();
        if let What::Told { .. } = oldest.what {
            self.told.forget();
        }
        let next = self.records.front();
        if next.is_none_or(|next| next.whose != oldest.whose) {
            self.whose.forget();
        }
        true
    }

    /// Gives back the room that was needed when its thread did more.
    pub(super) fn shrink(&mut self) {
        give_room(&mut self.records);
        give_room(&mut self.told.queue);
        give_room(&mut self.whose.queue);
    }

    /// The records from the one on that holds this sequence, or the first after it.
    pub(super) fn from(&self, sequence: u64) -> impl Iterator<Item = &Record> {
        let before = |record: &Record| record.end() <= sequence;
        self.records.range(self.records.partition_point(before)..)
    }

    pub(super) fn kinds(&self, record: &Record) -> Kinds {
        match record.what {
            What::Plain(plain) => Kinds::from_iter([plain.kind()]),
            What::End(end) => Told::End(end.into()).kinds(),
            What::Last(end) => end.kinds(),
            What::Told { number, .. } => self.told.at(number).kinds(),
        }
    }

    pub(super) fn whose(&self, record: &Record) -> &Whose {
        self.whose.at(record.whose)
    }
}

/// A queue whose items keep the numbers they were given. There are never so many that a number, which wraps,
/// could not tell them apart.
struct Numbered<T> {
    queue: VecDeque<T>,
    /// The number of the first.
    first: u32,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            first: 0,
        }
    }
}

impl<T> Numbered<T> {
    fn push(&mut self, item: T) -> u32 {
        let number = self.first.wrapping_add(self.queue.len() as u32);
        self.queue.push_back(item);
        number
    }

    fn at(&self, number: u32) -> &T {
        &self.queue[number.wrapping_sub(self.first) as usize]
    }

    fn last(&self) -> Option<(u32, &T)> {
        let last = self.queue.back()?;
        let number = self.first.wrapping_add(self.queue.len() as u32 - 1);
        Some((number, last))
    }

    fn forget(&mut self) {
        self.first = self.first.wrapping_add(1);
        self.queue.pop_front();
    }
}

/// Gives room back that nobody has needed lately.
fn give_room<T>(queue: &mut VecDeque<T>) {
    if queue.len() < queue.capacity() / 4 {
        queue.shrink_to(queue.len() * 2);
    }
}
