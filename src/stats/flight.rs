//! A request in the list of those in flight.

use core::sync::atomic::{Ordering, fence};

use crate::shared::{Text, milliseconds};

use super::table::{FLIGHTS, FlightRow, Table};
use super::{App, Here};

/// Where a request stands, for the one who looks at the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its body is being received.
    Reading,
    /// It waits for a thread.
    Queued,
    /// The application runs.
    Running,
    /// The client is being waited for.
    Sending,
    /// The application waits for something else, and the event loop goes on.
    Suspended,
}

impl State {
    const ALL: [Self; 5] =
        [Self::Reading, Self::Queued, Self::Running, Self::Sending, Self::Suspended];

    pub(super) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }

    /// The word for it in all formats.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Sending => "sending",
            Self::Suspended => "suspended",
        }
    }
}

/// A request in flight, until it is dropped. The default is none.
#[derive(Default)]
pub struct Flight {
    app: App,
    /// Its number in the process' list, if there was room in it.
    index: Option<usize>,
}

impl Flight {
    pub(super) fn new(app: App, method: &[u8], target: &[u8]) -> Self {
        app.more(|gauges| &gauges.in_flight);
        let index = app.0.and_then(|places| {
            let index = take(places.here)?;
            let row = &places.here.table.flights(places.here.slot?)[index];
            fill(row, places.row, method, target);
            Some(index)
        });
        Self { app, index }
    }

    /// Notes where it stands.
    pub fn set_state(&self, state: State) {
        if let Some(row) = self.row() {
            row.state.store(state as u32, Ordering::Relaxed);
        }
    }

    /// It is run in the calling thread from now on.
    pub fn runs_in(&self, number: u32, name: &str) {
        if let Some(row) = self.row() {
            row.thread.store(number, Ordering::Relaxed);
            row.thread_name.set(name.as_bytes());
            // What Python's threading.get_ident() says.
            // SAFETY: always succeeds.
            row.ident.store(unsafe { libc::pthread_self() } as u64, Ordering::Relaxed);
            row.state.store(State::Running as u32, Ordering::Relaxed);
        }
    }

    /// No thread runs it any more: what is left to do is nginx's.
    pub fn leaves_thread(&self) {
        if let Some(row) = self.row() {
            row.ident.store(0, Ordering::Relaxed);
            row.state.store(State::Sending as u32, Ordering::Relaxed);
        }
    }

    fn row(&self) -> Option<&'static FlightRow> {
        let here = self.app.0?.here;
        Some(&here.table.flights(here.slot?)[self.index?])
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.app.less(|gauges| &gauges.in_flight);
        if let Some(places) = self.app.0
            && let (Some(slot), Some(index)) = (places.here.slot, self.index)
        {
            let used = &places.here.table.slots[slot].used[index / 64];
            used.fetch_and(!(1 << (index % 64)), Ordering::Release);
        }
    }
}

/// Takes a free row of the process. `None` if there is none.
fn take(here: &Here) -> Option<usize> {
    for (number, used) in here.table.slots[here.slot?].used.iter().enumerate() {
        let mut bits = used.load(Ordering::Relaxed);
        while bits != u64::MAX {
            let free = bits.trailing_ones();
            bits = used.fetch_or(1 << free, Ordering::Acquire);
            if bits & 1 << free == 0 {
                return Some(number * 64 + free as usize);
            }
        }
    }
    None
}

fn fill(row: &FlightRow, app: usize, method: &[u8], target: &[u8]) {
    // A writer's half of a sequence lock; `read` has the other.
    let sequence = row.sequence.load(Ordering::Relaxed) | 1;
    row.sequence.store(sequence, Ordering::Relaxed);
    fence(Ordering::Release);
    row.app.store(u32::try_from(app).unwrap_or(u32::MAX), Ordering::Relaxed);
    row.state.store(State::Reading as u32, Ordering::Relaxed);
    row.thread.store(0, Ordering::Relaxed);
    row.thread_name.set(b"");
    row.ident.store(0, Ordering::Relaxed);
    row.begun.store(milliseconds(), Ordering::Relaxed);
    let mut line = [0; Text::<32>::ROOM];
    let mut len = 0;
    for part in [method, b" ", target] {
        let part = &part[..part.len().min(line.len() - len)];
        line[len..len + part.len()].copy_from_slice(part);
        len += part.len();
    }
    row.line.set(&line[..len]);
    row.sequence.store(sequence.wrapping_add(1), Ordering::Release);
}

/// A row that was read as a whole.
pub(super) struct Read {
    pub index: usize,
    pub sequence: u32,
    pub app: usize,
    pub state: State,
    pub thread: u32,
    pub thread_name: Vec<u8>,
    pub ident: u64,
    pub begun: u64,
    pub line: Vec<u8>,
}

/// The requests of a process. Those that come or go meanwhile may be missing.
pub(super) fn read_all(table: &Table, slot: usize) -> Vec<Read> {
    let used = &table.slots[slot].used;
    let is_used = |index: usize| used[index / 64].load(Ordering::Acquire) & 1 << (index % 64) != 0;
    (0..FLIGHTS)
        .filter(|index| is_used(*index))
        .filter_map(|index| read(&table.flights(slot)[index], index))
        .filter(|read| is_used(read.index))
        .collect()
}

fn read(row: &FlightRow, index: usize) -> Option<Read> {
    let sequence = row.sequence.load(Ordering::Acquire);
    let read = Read {
        index,
        sequence,
        app: row.app.load(Ordering::Relaxed) as usize,
        state: State::from_number(row.state.load(Ordering::Relaxed))?,
        thread: row.thread.load(Ordering::Relaxed),
        thread_name: row.thread_name.get(),
        ident: row.ident.load(Ordering::Relaxed),
        begun: row.begun.load(Ordering::Relaxed),
        line: row.line.get(),
    };
    fence(Ordering::Acquire);
    let is_whole = sequence & 1 == 0 && row.sequence.load(Ordering::Relaxed) == sequence;
    is_whole.then_some(read)
}
