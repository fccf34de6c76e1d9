//! The table in shared memory: its rows, and where they are.
//!
//! Counters belong to an application and the index of a worker, so that they outlive both worker and
//! configuration. Gauges and the list of requests belong to a process, whose slot is used again when the
//! process is dead. Nothing is ever moved while processes use the table: an application keeps its row, and a
//! table that has become too small is copied into a new one.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::life::Life;
use crate::shared::{Memory, Shared, Text};

use super::histogram::Histogram;

/// How many requests a process can have in the list, and how many stacks.
pub const FLIGHTS: usize = 256;
pub const STACKS: usize = 64;

/// Why a worker is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `wsgi_max_requests`
    MaxRequests,
    /// `wsgi_max_memory`
    MaxMemory,
    /// `wsgi_timeout`: a request could not be stopped.
    Timeout,
    /// `wsgi_reload_mechanism process`
    Reload,
}

impl Reason {
    pub const ALL: [Self; 4] = [Self::MaxRequests, Self::MaxMemory, Self::Timeout, Self::Reload];

    /// The word for it in all formats.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxRequests => "max_requests",
            Self::MaxMemory => "max_memory",
            Self::Timeout => "timeout",
            Self::Reload => "reload",
        }
    }
}

/// How much a table has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub apps: usize,
    pub workers: usize,
    pub slots: usize,
}

#[repr(C)]
pub struct Head {
    apps: AtomicU32,
    workers: AtomicU32,
    slots: AtomicU32,
    /// How often stacks have been asked for.
    pub asked: AtomicU32,
}

/// Which application a row is for; it is free if the hash is 0.
#[repr(C)]
pub struct AppRow {
    hash: AtomicU64,
    name: Text<64>,
}

/// What is counted for an application and the index of a worker.
#[repr(C, align(64))]
pub struct Counters {
    pub requests: AtomicU64,
    pub errors: AtomicU64,
    pub rejected_full: AtomicU64,
    pub rejected_late: AtomicU64,
    pub timeouts: AtomicU64,
    pub queue: Histogram,
    pub run: Histogram,
}

/// What is counted for the index of a worker.
#[repr(C, align(64))]
pub struct WorkerRow {
    pub replaced: [AtomicU64; Reason::ALL.len()],
}

/// A process.
#[repr(C, align(64))]
pub struct Slot {
    /// A `Life`; 0 if the slot is free.
    pub life: AtomicU64,
    pub worker: AtomicU32,
    /// When it began to serve, in milliseconds since 1970; 0 until the slot is complete.
    pub started: AtomicU64,
    /// Which of its flights are in use.
    pub used: [AtomicU64; FLIGHTS / 64],
    /// How many of its stacks are filled, and the count of `Head::asked` that they answer.
    pub stacks: AtomicU32,
    pub answered: AtomicU32,
}

/// What a process has of an application at this moment.
#[repr(C, align(64))]
pub struct Gauges {
    pub in_flight: AtomicU32,
    pub queued: AtomicU32,
    pub busy: AtomicU32,
    pub threads: AtomicU32,
}

/// A request.
#[repr(C, align(64))]
pub struct FlightRow {
    /// Odd while the row is being filled; another number for every request.
    pub sequence: AtomicU32,
    pub app: AtomicU32,
    pub state: AtomicU32,
    pub thread: AtomicU32,
    /// What Python calls the thread; 0 until it runs.
    pub ident: AtomicU64,
    /// See `shared::milliseconds`.
    pub begun: AtomicU64,
    pub thread_name: Text<4>,
    pub line: Text<32>,
}

/// The Python stack of a request.
#[repr(C, align(64))]
pub struct StackRow {
    pub flight: AtomicU32,
    pub sequence: AtomicU32,
    pub text: Text<512>,
}

macro_rules! shared {
    ($($type:ty),*) => {
        $(
            // SAFETY: atomics, in the order of C.
            unsafe impl Shared for $type {}
        )*
    };
}
shared!(Head, AppRow, Counters, WorkerRow, Slot, Gauges, FlightRow, StackRow);

/// A table; all copies are the same one.
#[derive(Clone, Copy)]
pub struct Table {
    pub head: &'static Head,
    apps: &'static [AppRow],
    counters: &'static [Counters],
    pub workers: &'static [WorkerRow],
    pub slots: &'static [Slot],
    gauges: &'static [Gauges],
    flights: &'static [FlightRow],
    stacks: &'static [StackRow],
}

impl Capacity {
    /// Room for so many, and for more at the next reloads.
    pub fn of(apps: usize, workers: usize) -> Self {
        let workers = workers.next_power_of_two().max(8);
        // Workers of earlier configurations may take long to finish.
        Self { apps: apps.next_power_of_two().max(16), workers, slots: 2 * workers }
    }

    /// Room for both.
    pub fn and(self, other: Self) -> Self {
        Self {
            apps: self.apps.max(other.apps),
            workers: self.workers.max(other.workers),
            slots: self.slots.max(other.slots),
        }
    }

    /// Bytes.
    pub fn len(self) -> usize {
        let Self { apps, workers, slots } = self;
        Memory::space::<Head>(1)
            + Memory::space::<AppRow>(apps)
            + Memory::space::<Counters>(apps * workers)
            + Memory::space::<WorkerRow>(workers)
            + Memory::space::<Slot>(slots)
            + Memory::space::<Gauges>(apps * slots)
            + Memory::space::<FlightRow>(FLIGHTS * slots)
            + Memory::space::<StackRow>(STACKS * slots)
    }
}

impl Table {
    /// A new table in zeroed memory. `None` if there is too little of it.
    pub fn create(memory: Memory, capacity: Capacity) -> Option<Self> {
        let head = &memory.clone().take::<Head>(1)?[0];
        head.apps.store(u32::try_from(capacity.apps).ok()?, Ordering::Relaxed);
        head.workers.store(u32::try_from(capacity.workers).ok()?, Ordering::Relaxed);
        head.slots.store(u32::try_from(capacity.slots).ok()?, Ordering::Relaxed);
        Self::open(memory)
    }

    /// The table that was created in this memory.
    pub fn open(mut memory: Memory) -> Option<Self> {
        let head = &memory.take::<Head>(1)?[0];
        let number = |number: &AtomicU32| number.load(Ordering::Relaxed) as usize;
        let (apps, workers, slots) =
            (number(&head.apps), number(&head.workers), number(&head.slots));
        Some(Self {
            head,
            apps: memory.take(apps)?,
            counters: memory.take(apps * workers)?,
            workers: memory.take(workers)?,
            slots: memory.take(slots)?,
            gauges: memory.take(apps * slots)?,
            flights: memory.take(FLIGHTS * slots)?,
            stacks: memory.take(STACKS * slots)?,
        })
    }

    pub fn capacity(&self) -> Capacity {
        let (apps, workers, slots) = (self.apps.len(), self.workers.len(), self.slots.len());
        Capacity { apps, workers, slots }
    }

    pub fn counters(&self, app: usize, worker: usize) -> &'static Counters {
        &self.counters[worker * self.apps.len() + app]
    }

    pub fn gauges(&self, app: usize, slot: usize) -> &'static Gauges {
        &self.gauges[slot * self.apps.len() + app]
    }

    pub fn flights(&self, slot: usize) -> &'static [FlightRow] {
        &self.flights[slot * FLIGHTS..][..FLIGHTS]
    }

    pub fn stacks(&self, slot: usize) -> &'static [StackRow] {
        &self.stacks[slot * STACKS..][..STACKS]
    }

    /// The names of the applications, with the numbers of their rows.
    pub fn names(&self) -> impl Iterator<Item = (usize, Vec<u8>)> {
        let rows = self.apps.iter().enumerate();
        rows.filter(|(_, row)| row.hash.load(Ordering::Acquire) != 0)
            .map(|(index, row)| (index, row.name.get()))
    }

    /// The row of an application.
    pub fn find(&self, name: &str) -> Option<usize> {
        let hash = hash(name);
        self.apps.iter().position(|row| row.hash.load(Ordering::Acquire) == hash)
    }

    /// The row of an application, a new one if it has none. `None` if there is no room. One process at a
    /// time may add.
    pub fn find_or_add(&self, name: &str) -> Option<usize> {
        self.find(name).or_else(|| {
            let free = self.apps.iter().position(|row| row.hash.load(Ordering::Relaxed) == 0)?;
            self.apps[free].name.set(name.as_bytes());
            self.apps[free].hash.store(hash(name), Ordering::Release);
            Some(free)
        })
    }

    /// Whether all these have rows or can get them.
    pub fn has_room_for(&self, names: &[String], workers: usize) -> bool {
        let used = self.apps.iter().filter(|row| row.hash.load(Ordering::Relaxed) != 0).count();
        let new = names.iter().filter(|name| self.find(name).is_none()).count();
        used + new <= self.apps.len() && workers <= self.workers.len()
    }

    /// Takes over what the smaller table `old` has counted: for the indexes of workers, and for the
    /// applications that are to be kept.
    pub fn continue_from(&self, old: &Self, is_kept: impl Fn(&str) -> bool) {
        for (index, row) in old.apps.iter().enumerate() {
            let name = row.name.get();
            let name = String::from_utf8_lossy(&name);
            if row.hash.load(Ordering::Acquire) == 0 || !is_kept(&name) {
                continue;
            }
            let Some(own) = self.find_or_add(&name) else { continue };
            for worker in 0..old.workers.len().min(self.workers.len()) {
                self.counters(own, worker).continue_from(old.counters(index, worker));
            }
        }
        for (own, old) in self.workers.iter().zip(old.workers) {
            for (own, old) in own.replaced.iter().zip(&old.replaced) {
                own.store(old.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        // A worker that has answered in the old table has not in this one.
        let asked = old.head.asked.load(Ordering::Relaxed);
        self.head.asked.store(asked, Ordering::Relaxed);
    }

    /// Claims a slot for a process that is to be the worker of this index: one that is free, or whose process
    /// is dead. `None` if there is none.
    pub fn claim(&self, life: Life, worker: usize, started: u64) -> Option<usize> {
        let index = self.slots.iter().position(|slot| {
            let bits = slot.life.load(Ordering::Acquire);
            let other = Life::from_bits(bits);
            (bits == 0 || other.pid == life.pid || other.is_over())
                && slot
                    .life
                    .compare_exchange(bits, life.to_bits(), Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
        })?;
        let slot = &self.slots[index];
        slot.started.store(0, Ordering::Release);
        slot.worker.store(u32::try_from(worker).unwrap_or(u32::MAX), Ordering::Relaxed);
        slot.stacks.store(0, Ordering::Relaxed);
        slot.answered.store(self.head.asked.load(Ordering::Relaxed), Ordering::Relaxed);
        for used in &slot.used {
            used.store(0, Ordering::Relaxed);
        }
        for app in 0..self.apps.len() {
            self.gauges(app, index).clear();
        }
        slot.started.store(started.max(1), Ordering::Release);
        Some(index)
    }

    /// The slots of processes that live.
    pub fn alive(&self) -> impl Iterator<Item = (usize, &'static Slot)> {
        self.slots.iter().enumerate().filter(|(_, slot)| slot.is_alive())
    }
}

impl Slot {
    fn is_alive(&self) -> bool {
        let bits = self.life.load(Ordering::Acquire);
        bits != 0 && self.started.load(Ordering::Acquire) != 0 && !Life::from_bits(bits).is_over()
    }
}

impl Gauges {
    fn clear(&self) {
        for gauge in [&self.in_flight, &self.queued, &self.busy, &self.threads] {
            gauge.store(0, Ordering::Relaxed);
        }
    }
}

impl Counters {
    fn continue_from(&self, old: &Self) {
        let pairs = [
            (&self.requests, &old.requests),
            (&self.errors, &old.errors),
            (&self.rejected_full, &old.rejected_full),
            (&self.rejected_late, &old.rejected_late),
            (&self.timeouts, &old.timeouts),
        ];
        for (own, old) in pairs {
            own.store(old.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.queue.continue_from(&old.queue);
        self.run.continue_from(&old.run);
    }
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish().max(1)
}
