use std::{collections::VecDeque, sync::Arc};

use supervisor_layers::policy::Nanos;

use super::{
    entry::{Entry, Kinds, Plain, Told},
    ring::Origin,
};

/// What one lane of the ring remembers: records in the order of their sequences.
#[derive(Default)]
pub(super) struct Records {
    records: VecDeque<Record>,
    /// What those have to say that are told, in the same order.
    told: VecDeque<Told>,
    /// The number of the first of these; it wraps.
    first_told: u32,
}

/// One append.
pub(super) struct Record {
    /// Of its first event.
    pub(super) sequence: u64,
    pub(super) uptime: Nanos,
    pub(super) path: Arc<str>,
    pub(super) instance: u64,
    pub(super) generation: u64,
    pub(super) correlation: u64,
    pub(super) attempt: u32,
    /// How many events it stands for.
    count: u8,
    what: What,
}

enum What {
    Plain(Plain),
    /// Told under this number.
    Told(u32),
}

impl Record {
    /// The sequence after its last event.
    fn end(&self) -> u64 {
        self.sequence + u64::from(self.count)
    }
}

impl Records {
    #[inline]
    pub(super) fn push(
        &mut self,
        sequence: u64,
        uptime: Nanos,
        path: Arc<str>,
        origin: Origin<'_>,
        correlation: u64,
        entry: Entry<'_>,
    ) {
        make_room(&mut self.records);
        let count = entry.count();
        let what = self.tell(entry);
        self.records.push_back(Record {
            sequence,
            uptime,
            path,
            instance: origin.instance,
            generation: origin.generation,
            correlation,
            attempt: origin.attempt,
            count,
            what,
        });
    }

    fn tell(&mut self, entry: Entry<'_>) -> What {
        let told = match entry {
            Entry::Plain(plain) => return What::Plain(plain),
            Entry::End(end) => Told::End(end.clone()),
            Entry::Command(command) => Told::Command(command),
            Entry::Other(kind) => Told::Other(kind),
        };
        make_room(&mut self.told);
        self.told.push_back(told);
        // There are never so many that the number could not tell them apart.
        What::Told(self.first_told.wrapping_add(self.told.len() as u32 - 1))
    }

    /// Takes out the oldest record, if all of it is older than `first`.
    #[inline]
    pub(super) fn forget(&mut self, first: u64) -> bool {
        if self
            .records
            .front()
            .is_none_or(|oldest| oldest.end() > first)
        {
            return false;
        }
        if let Some(What::Told(_)) = self.records.pop_front().map(|record| record.what) {
            self.first_told = self.first_told.wrapping_add(1);
            drop(self.told.pop_front());
        }
        true
    }

    /// Gives back the room that was needed when its thread did more.
    pub(super) fn shrink(&mut self) {
        give_room(&mut self.records);
        give_room(&mut self.told);
    }

    /// The records from the one on that holds this sequence, or the first after it.
    pub(super) fn from(&self, sequence: u64) -> impl Iterator<Item = &Record> {
        let before = |record: &Record| record.end() <= sequence;
        self.records.range(self.records.partition_point(before)..)
    }

    pub(super) fn kinds(&self, record: &Record) -> Kinds {
        match record.what {
            What::Plain(plain) => Kinds::from_iter([plain.kind()]),
            What::Told(_) => self.told(record).map(Told::kinds).unwrap_or_default(),
        }
    }

    fn told(&self, record: &Record) -> Option<&Told> {
        let What::Told(number) = record.what else {
            return None;
        };
        self.told.get(number.wrapping_sub(self.first_told) as usize)
    }
}

/// Gives room back that nobody has needed lately.
fn give_room<T>(queue: &mut VecDeque<T>) {
    if queue.len() < queue.capacity() / 4 {
        queue.shrink_to(queue.len() * 2);
    }
}

/// For one more. Room that is never used is memory of every tree: it grows by a quarter and does not double.
fn make_room<T>(queue: &mut VecDeque<T>) {
    if queue.len() == queue.capacity() {
        queue.reserve_exact(queue.len() / 4 + 16);
    }
}
