//! What the workers of one nginx know of each other: a table in shared memory.
//!
//! It has a slot for each worker, at the index that the master gave to it, and the lock of the worker that
//! is being replaced. All zeroes is a table in which nobody is. It outlives configurations: the workers
//! after a reload take the slots from those before it, and the one that the master starts for a worker that
//! has ended, or was killed, takes the slot of its predecessor. So a slot never belongs to a worker that is
//! no more, save for the moment that the master needs to start the next one.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use core::time::Duration;
use std::time::Instant;

use crate::shared::Shared;

/// As many processes as nginx can have (NGX_MAX_PROCESSES).
const SLOTS: usize = 1024;

/// A process that has been dead for so long without a successor will have none.
const ABANDONED: Duration = Duration::from_secs(10);

/// How far a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has its slot and imports the applications.
    Starting = 1,
    Serving = 2,
    /// It quits gracefully, and takes no new connections.
    Leaving = 3,
}

/// The shared memory.
#[repr(C)]
pub struct Table {
    /// Who is being replaced: its pid, and its index plus one in the lower half. 0: nobody ever was.
    lock: AtomicU64,
    slots: [Slot; SLOTS],
}

// SAFETY: atomics, laid out as in C; all zeroes is a table.
unsafe impl Shared for Table {}

/// Of one worker. A cache line of its own, since each worker writes to its own one at every request.
#[repr(C, align(64))]
struct Slot {
    word: AtomicU64,
    /// How often all of its threads were busy and one became idle.
    reliefs: AtomicU64,
}

/// What a slot holds, in one word, so that a worker that has lost its slot cannot spoil that of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// 0: nobody.
    pid: u32,
    stage: Option<Stage>,
    idle: u16,
    threads: u16,
}

/// The numbers of threads have so many bits.
const MOST: u16 = (1 << 14) - 1;

impl From<u64> for Entry {
    fn from(word: u64) -> Self {
        let stage = match word >> 28 & 0xf {
            1 => Some(Stage::Starting),
            2 => Some(Stage::Serving),
            3 => Some(Stage::Leaving),
            _ => None,
        };
        Self {
            pid: (word >> 32) as u32,
            stage,
            idle: (word >> 14) as u16 & MOST,
            threads: word as u16 & MOST,
        }
    }
}

impl From<Entry> for u64 {
    fn from(entry: Entry) -> Self {
        let stage = entry.stage.map_or(0, |stage| stage as u64);
        let (idle, threads) = (u64::from(entry.idle.min(MOST)), u64::from(entry.threads.min(MOST)));
        u64::from(entry.pid) << 32 | stage << 28 | idle << 14 | threads
    }
}

impl Slot {
    fn entry(&self) -> Entry {
        self.word.load(SeqCst).into()
    }
}

/// A worker's place in the table.
pub struct Member {
    table: &'static Table,
    index: usize,
    /// How many there are in this worker's configuration, itself included.
    workers: usize,
    pid: u32,
}

impl Member {
    /// Takes the slot of worker number `index`, whoever had it. `None` if there is no such slot.
    pub fn join(table: &'static Table, index: usize, workers: usize, pid: u32) -> Option<Self> {
        let stage = Some(Stage::Starting);
        let entry = Entry { pid, stage, idle: 0, threads: 0 };
        table.slots.get(index)?.word.store(entry.into(), SeqCst);
        Some(Self { table, index, workers: workers.min(SLOTS), pid })
    }

    /// Has others know how far this worker is.
    pub fn reach(&self, stage: Stage) {
        let idle = |entry: Entry| if stage == Stage::Leaving { 0 } else { entry.idle };
        self.update(|entry| Entry { stage: Some(stage), idle: idle(entry), ..entry });
    }

    /// Has others know how many threads this worker has, and how many of them have nothing to do.
    pub fn note_threads(&self, idle: usize, threads: usize) {
        let count = |number: usize| u16::try_from(number).unwrap_or(MOST);
        let before = self.update(|entry| Entry {
            // A worker that leaves takes no connections, whatever it has.
            idle: if entry.stage == Some(Stage::Leaving) { 0 } else { count(idle) },
            threads: count(threads),
            ..entry
        });
        if idle > 0 && before.is_some_and(|entry| entry.idle == 0) {
            self.table.slots[self.index].reliefs.fetch_add(1, SeqCst);
        }
    }

    /// A number that changes whenever another worker, all of whose threads were busy, has an idle one.
    pub fn reliefs_elsewhere(&self) -> u64 {
        let reliefs = self.others().map(|slot| slot.reliefs.load(SeqCst));
        reliefs.fold(0, u64::wrapping_add)
    }

    /// Whether another worker has an idle thread.
    pub fn has_idle_neighbour(&self, is_alive: impl Fn(u32) -> bool) -> bool {
        self.others().map(Slot::entry).any(|other| {
            other.stage == Some(Stage::Serving) && other.idle > 0 && is_alive(other.pid)
        })
    }

    /// Takes the lock, if the replacement of the last worker that had it is complete and all others serve;
    /// this worker is then leaving. `dead` is to be the same at each attempt.
    pub fn try_leave(&self, dead: &mut Dead) -> bool {
        let held = self.table.lock.load(SeqCst);
        let mine = u64::from(self.pid) << 32 | (self.index as u64 + 1);
        if self.is_lost() {
            // A reload has replaced it already.
            return true;
        }
        let may =
            self.is_over(held, dead) && self.others().all(|other| serves(other.entry(), dead));
        // Another one may have been quicker.
        let taken = may && self.table.lock.compare_exchange(held, mine, SeqCst, SeqCst).is_ok();
        if taken {
            self.leave();
        }
        taken
    }

    /// Whether the others would go on serving without this worker; also if there are none.
    pub fn is_dispensable(&self, dead: &mut Dead) -> bool {
        let mut others = self.others().map(Slot::entry).peekable();
        others.peek().is_none()
            || others.any(|other| other.stage == Some(Stage::Serving) && !dead.is_dead(other.pid))
    }

    /// This worker is leaving, lock or not. Until its successor serves, no other one gets the lock.
    pub fn leave(&self) {
        self.reach(Stage::Leaving);
    }

    /// Whether the worker that `held` names has a successor that serves.
    fn is_over(&self, held: u64, dead: &mut Dead) -> bool {
        let (pid, index) = ((held >> 32) as u32, (held as u32 as usize).wrapping_sub(1));
        if index >= self.workers {
            // Nobody, or one that this configuration does not have any more.
            return true;
        }
        let entry = self.table.slots[index].entry();
        match (entry.pid == pid, entry.stage) {
            (false, Some(Stage::Serving)) => true,
            _ => dead.is_abandoned(entry.pid),
        }
    }

    /// Whether the slot has been taken by a later worker.
    fn is_lost(&self) -> bool {
        self.table.slots[self.index].entry().pid != self.pid
    }

    fn others(&self) -> impl Iterator<Item = &'static Slot> {
        let slots = self.table.slots[..self.workers].iter().enumerate();
        slots.filter(|(index, _)| *index != self.index).map(|(_, slot)| slot)
    }

    /// Changes what the slot says, as long as it is this worker's; what it said before.
    fn update(&self, change: impl Fn(Entry) -> Entry) -> Option<Entry> {
        let word = &self.table.slots[self.index].word;
        let before = word.fetch_update(SeqCst, SeqCst, |word| {
            let entry = Entry::from(word);
            (entry.pid == self.pid).then(|| change(entry).into())
        });
        before.ok().map(Entry::from)
    }
}

/// Whether that worker serves. One that will never come does not count.
fn serves(other: Entry, dead: &mut Dead) -> bool {
    if dead.is_dead(other.pid) {
        return dead.is_abandoned(other.pid);
    }
    other.stage == Some(Stage::Serving)
}

/// Processes that were found dead, and since when: the master starts a successor at once, unless it cannot.
pub struct Dead {
    is_alive: fn(u32) -> bool,
    now: fn() -> Instant,
    found: Vec<(u32, Instant)>,
}

impl Dead {
    pub fn new(is_alive: fn(u32) -> bool, now: fn() -> Instant) -> Self {
        Self { is_alive, now, found: Vec::new() }
    }

    /// Whether there is no such process. 0: a worker that has not come.
    fn is_dead(&self, pid: u32) -> bool {
        pid == 0 || !(self.is_alive)(pid)
    }

    /// Whether `pid` has been dead for so long that nobody will follow.
    fn is_abandoned(&mut self, pid: u32) -> bool {
        if !self.is_dead(pid) {
            self.found.retain(|(known, _)| *known != pid);
            return false;
        }
        let now = (self.now)();
        match self.found.iter().find(|(known, _)| *known == pid) {
            Some((_, since)) => now.duration_since(*since) >= ABANDONED,
            None => {
                self.found.push((pid, now));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::shared::Memory;

    use core::cell::Cell;
    use std::thread;

    thread_local! {
        static KILLED: Cell<u32> = const { Cell::new(0) };
        static LATER: Cell<Duration> = const { Cell::new(Duration::ZERO) };
        static START: Instant = Instant::now();
    }

    fn table() -> &'static Table {
        &Memory::leaked(Memory::space::<Table>(1)).take(1).unwrap()[0]
    }

    fn dead() -> Dead {
        Dead::new(|pid| pid != KILLED.get(), || START.with(|start| *start) + LATER.get())
    }

    fn serving(table: &'static Table, index: usize, workers: usize, pid: u32) -> Member {
        let member = Member::join(table, index, workers, pid).unwrap();
        member.reach(Stage::Serving);
        member
    }

    #[test]
    fn an_entry_is_a_word_and_back() {
        for stage in [None, Some(Stage::Starting), Some(Stage::Serving), Some(Stage::Leaving)] {
            let entry = Entry { pid: u32::MAX, stage, idle: MOST, threads: 5 };
            assert_eq!(Entry::from(u64::from(entry)), entry);
        }
        let many = Entry { pid: 1, stage: None, idle: u16::MAX, threads: u16::MAX };
        assert_eq!(Entry::from(u64::from(many)), Entry { idle: MOST, threads: MOST, ..many });
    }

    #[test]
    fn neighbours_with_idle_threads() {
        let table = table();
        let (a, b) = (serving(table, 0, 2, 10), serving(table, 1, 2, 11));
        a.note_threads(4, 4);
        assert!(!a.has_idle_neighbour(|_| true), "its own do not count");
        assert!(b.has_idle_neighbour(|_| true));
        assert!(!b.has_idle_neighbour(|pid| pid != 10), "a dead one has none");
        a.note_threads(0, 4);
        assert!(!b.has_idle_neighbour(|_| true));
        a.note_threads(4, 4);
        a.reach(Stage::Leaving);
        assert!(!b.has_idle_neighbour(|_| true), "one that leaves takes nothing");
        a.note_threads(4, 4);
        assert!(!b.has_idle_neighbour(|_| true));
    }

    #[test]
    fn the_last_one_that_serves_stays() {
        let table = table();
        let (a, b) = (serving(table, 0, 2, 10), serving(table, 1, 2, 11));
        let dead = &mut dead();
        assert!(a.is_dispensable(dead) && b.is_dispensable(dead));
        a.leave();
        assert!(!b.is_dispensable(dead), "the other one leaves");
        let a = serving(table, 0, 2, 12);
        assert!(b.is_dispensable(dead));
        KILLED.set(12);
        assert!(!b.is_dispensable(dead), "the other one is dead");
        assert!(a.is_dispensable(dead));
        let alone = serving(self::table(), 0, 1, 10);
        assert!(alone.is_dispensable(dead), "nobody else could stay");
    }

    #[test]
    fn reliefs() {
        let table = table();
        let (a, b) = (serving(table, 0, 2, 10), serving(table, 1, 2, 11));
        a.note_threads(2, 2);
        let first = b.reliefs_elsewhere();
        a.note_threads(1, 2);
        a.note_threads(2, 2);
        a.note_threads(0, 2);
        b.note_threads(1, 1);
        assert_eq!(b.reliefs_elsewhere(), first);
        a.note_threads(1, 2);
        assert_ne!(b.reliefs_elsewhere(), first);
    }

    #[test]
    fn a_slot_belongs_to_the_latest_worker() {
        let table = table();
        let old = serving(table, 0, 2, 10);
        let other = serving(table, 1, 2, 11);
        old.note_threads(4, 4);
        let new = Member::join(table, 0, 2, 20).unwrap();
        assert!(!other.has_idle_neighbour(|_| true));
        old.note_threads(4, 4);
        old.reach(Stage::Serving);
        assert!(!other.has_idle_neighbour(|_| true), "the old one cannot write to it any more");
        new.reach(Stage::Serving);
        new.note_threads(1, 4);
        assert!(other.has_idle_neighbour(|_| true));
    }

    #[test]
    fn one_is_replaced_at_a_time() {
        let table = table();
        let workers: Vec<_> =
            (0..3).map(|index| serving(table, index, 3, 10 + index as u32)).collect();
        let dead = &mut dead();
        assert!(workers[0].try_leave(dead));
        assert!(!workers[1].try_leave(dead));
        KILLED.set(10);
        assert!(!workers[1].try_leave(dead), "it has ended, but who follows?");
        let next = Member::join(table, 0, 3, 20).unwrap();
        assert!(!workers[1].try_leave(dead), "imports");
        next.reach(Stage::Serving);
        assert!(workers[1].try_leave(dead));
        assert!(!workers[2].try_leave(dead));
        assert!(!next.try_leave(dead));
    }

    #[test]
    fn nobody_leaves_while_another_one_starts() {
        let table = table();
        let a = serving(table, 0, 2, 10);
        assert!(!a.try_leave(&mut dead()), "the other one has not come yet");
        let b = Member::join(table, 1, 2, 11).unwrap();
        assert!(!a.try_leave(&mut dead()));
        b.reach(Stage::Serving);
        assert!(a.try_leave(&mut dead()));
    }

    #[test]
    fn nobody_leaves_while_another_one_is_dead() {
        let table = table();
        let (a, _) = (serving(table, 0, 2, 10), serving(table, 1, 2, 11));
        KILLED.set(11);
        assert!(!a.try_leave(&mut dead()));
        serving(table, 1, 2, 12);
        assert!(a.try_leave(&mut dead()));
    }

    #[test]
    fn a_worker_alone_and_its_successor() {
        let table = table();
        assert!(serving(table, 0, 1, 10).try_leave(&mut dead()));
        assert!(serving(table, 0, 1, 11).try_leave(&mut dead()));
    }

    #[test]
    fn a_stuck_worker_keeps_others_from_leaving() {
        let table = table();
        let (a, b) = (serving(table, 0, 2, 10), serving(table, 1, 2, 11));
        a.leave();
        assert!(!b.try_leave(&mut dead()));
        serving(table, 0, 2, 20);
        assert!(b.try_leave(&mut dead()));
    }

    #[test]
    fn a_holder_without_a_successor_is_waited_for_ten_seconds() {
        let table = table();
        let (a, b) = (serving(table, 0, 2, 10), serving(table, 1, 2, 11));
        let dead = &mut dead();
        assert!(a.try_leave(dead));
        KILLED.set(10);
        assert!(!b.try_leave(dead));
        LATER.set(Duration::from_secs(9));
        assert!(!b.try_leave(dead));
        LATER.set(Duration::from_secs(10));
        assert!(b.try_leave(dead));
    }

    #[test]
    fn a_reload_forgets_the_holder() {
        let table = table();
        let old: Vec<_> = (0..3).map(|index| serving(table, index, 3, 10 + index as u32)).collect();
        assert!(old[2].try_leave(&mut dead()));
        // Fewer workers: number 2 is never replaced.
        let new: Vec<_> = (0..2).map(|index| serving(table, index, 2, 20 + index as u32)).collect();
        assert!(new[0].try_leave(&mut dead()));
        assert!(old[1].try_leave(&mut dead()), "goes anyway");
        assert!(!new[1].try_leave(&mut dead()));
    }

    #[test]
    fn a_race_has_one_winner() {
        for _ in 0..200 {
            let table = table();
            let workers: Vec<_> =
                (0..4).map(|index| serving(table, index, 4, 10 + index as u32)).collect();
            let won: usize = thread::scope(|scope| {
                let threads: Vec<_> = workers
                    .iter()
                    .map(|worker| scope.spawn(|| worker.try_leave(&mut dead())))
                    .collect();
                threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
            });
            assert_eq!(won, 1);
        }
    }

    #[test]
    fn an_index_that_nginx_cannot_have() {
        assert!(Member::join(table(), SLOTS, 1, 10).is_none());
    }
}
