//! What the status shows: counted where requests are run, in memory that all workers share.
//!
//! Knows neither nginx nor Python; `status` asks nginx for the memory, and shows what is in it. Only atomics
//! are touched, so every function may be called in any thread. Where no location has `wsgi_status` there is
//! no table, and a call ends with the look at a null.

mod flight;
mod histogram;
mod snapshot;
mod stacks;
mod table;

#[cfg(test)]
mod tests;

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::RwLock;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::life::Life;
use crate::shared;

pub use flight::{Flight, State};
pub use histogram::{BOUNDS, Times};
pub use snapshot::{AppName, AppWorker, Flying, Process, Snapshot, Worker};
pub use stacks::{Dump, ask, have_answered, wait_for_question};
pub use table::{Capacity, Reason, Table};

use table::{Counters, Gauges};

/// This process' place in the table.
#[derive(Clone, Copy)]
struct Here {
    table: Table,
    worker: usize,
    /// `None` if so many processes live that there was no slot left.
    slot: Option<usize>,
}

static HERE: RwLock<Option<Here>> = RwLock::new(None);

fn here() -> Option<Here> {
    *HERE.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Makes this process the worker of this index. False if there is no slot for it: it counts, and shows nothing
/// of itself.
pub fn join(table: Table, worker: usize) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let slot = table.claim(Life::own(), worker, u64::try_from(now).unwrap_or(1));
    let here = Here { table, worker, slot };
    let before = HERE.write().unwrap_or_else(std::sync::PoisonError::into_inner).replace(here);
    if let Some(before) = before {
        // A single process after a reload: its thread for the stacks is to wait for the new table.
        shared::wake(&before.table.head.asked);
    }
    slot.is_some()
}

/// This process ends: its slot is free again.
pub fn leave() {
    let here = HERE.write().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    if let Some(Here { table, slot: Some(slot), .. }) = here {
        table.slots[slot].life.store(0, Ordering::Release);
    }
}

/// This worker is replaced. To be called once by it.
pub fn replaced(reason: Reason) {
    if let Some(here) = here() {
        here.table.workers[here.worker].replaced[reason as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Why the application was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The queue was full.
    Full,
    /// The request has waited for too long.
    Late,
}

/// An application, as this worker counts for it. The default counts nothing.
#[derive(Clone, Copy, Default)]
pub struct App(Option<Places>);

#[derive(Clone, Copy)]
struct Places {
    here: &'static Here,
    row: usize,
    counters: &'static Counters,
    /// `None` if this process has no slot.
    gauges: Option<&'static Gauges>,
}

impl App {
    /// The application with this row. To be called once for an application, as it keeps a little memory.
    pub fn of_row(row: usize) -> Self {
        Self(here().map(|here| Places {
            here: Box::leak(Box::new(here)),
            row,
            counters: here.table.counters(row, here.worker),
            gauges: here.slot.map(|slot| here.table.gauges(row, slot)),
        }))
    }

    /// A request came. It is in flight, and on the list, until the drop of what this returns.
    pub fn received(self, method: &[u8], target: &[u8]) -> Flight {
        self.count(|counters| &counters.requests);
        Flight::new(self, method, target)
    }

    /// The request is answered with 503.
    pub fn rejected(self, why: Rejection) {
        self.count(|counters| match why {
            Rejection::Full => &counters.rejected_full,
            Rejection::Late => &counters.rejected_late,
        });
    }

    /// The request waits for a thread.
    pub fn queued(self) {
        self.more(|gauges| &gauges.queued);
    }

    /// It waits no longer, for whatever reason.
    pub fn unqueued(self) {
        self.less(|gauges| &gauges.queued);
    }

    /// It has waited so long, and now it is run.
    pub fn waited(self, time: Duration) {
        if let Some(places) = self.0 {
            places.counters.queue.add(time);
        }
    }

    /// A thread is taken by a request.
    pub fn busy(self) {
        self.more(|gauges| &gauges.busy);
    }

    /// The thread is free again.
    pub fn idle(self) {
        self.less(|gauges| &gauges.busy);
    }

    /// A request that was run has ended; the application took `time`.
    pub fn finished(self, time: Duration, is_error: bool) {
        if let Some(places) = self.0 {
            places.counters.run.add(time);
            if is_error {
                places.counters.errors.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// A request has run for longer than it may.
    pub fn timed_out(self) {
        self.count(|counters| &counters.timeouts);
    }

    /// So many threads of this process can run it.
    pub fn set_threads(self, threads: u32) {
        if let Some(gauges) = self.0.and_then(|places| places.gauges) {
            gauges.threads.store(threads, Ordering::Relaxed);
        }
    }

    fn count(self, which: impl Fn(&'static Counters) -> &'static AtomicU64) {
        if let Some(places) = self.0 {
            which(places.counters).fetch_add(1, Ordering::Relaxed);
        }
    }

    fn more(self, which: impl Fn(&'static Gauges) -> &'static core::sync::atomic::AtomicU32) {
        if let Some(gauges) = self.0.and_then(|places| places.gauges) {
            which(gauges).fetch_add(1, Ordering::Relaxed);
        }
    }

    fn less(self, which: impl Fn(&'static Gauges) -> &'static core::sync::atomic::AtomicU32) {
        if let Some(gauges) = self.0.and_then(|places| places.gauges) {
            which(gauges).fetch_sub(1, Ordering::Relaxed);
        }
    }
}
