//! What the table says at one moment, as plain values: what the formats are made of.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::life::{self, Life};
use crate::shared::milliseconds;

use super::flight::{self, State};
use super::histogram::Times;
use super::table::{Counters, Gauges, Reason, Table};
use super::{here, stacks};

/// Which application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppName {
    pub target: String,
    /// Empty for the main interpreter.
    pub interpreter: String,
    /// In the order in which they get a request.
    pub middleware: Vec<String>,
}

/// The status.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Which worker answers.
    pub pid: u32,
    pub apps: Vec<(AppName, Vec<AppWorker>)>,
    pub workers: Vec<Worker>,
    pub flights: Vec<Flying>,
    /// Requests that the list had no room for.
    pub unlisted: u64,
}

/// An application in the workers of one index, those that are dead too.
#[derive(Clone, Debug, Default)]
pub struct AppWorker {
    pub worker: usize,
    pub totals: Totals,
    pub in_flight: u64,
    pub queued: u64,
    pub busy: u64,
    pub threads: u64,
}

/// What has been counted since nginx started.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    pub requests: u64,
    pub errors: u64,
    pub rejected_full: u64,
    pub rejected_late: u64,
    pub timeouts: u64,
    pub queue: Times,
    pub run: Times,
}

/// The workers of one index.
#[derive(Debug, Default)]
pub struct Worker {
    pub worker: usize,
    /// How often one was replaced, in the order of `Reason::ALL`.
    pub replaced: [u64; Reason::ALL.len()],
    /// More than one while an old one still finishes.
    pub processes: Vec<Process>,
}

#[derive(Debug, Default)]
pub struct Process {
    pub pid: u32,
    /// In seconds since 1970.
    pub started: f64,
    /// In bytes; `None` if it cannot be known.
    pub resident: Option<u64>,
    /// Whether it has answered the last question for stacks.
    pub has_answered: bool,
}

/// A request in flight.
#[derive(Debug)]
pub struct Flying {
    pub app: AppName,
    pub worker: usize,
    pub pid: u32,
    pub state: State,
    /// In seconds.
    pub age: f64,
    /// Empty where no thread has it.
    pub thread_name: String,
    pub thread: u32,
    pub method: String,
    /// As the client has sent it; bytes that are no plain text are written as in a URL.
    pub target: String,
    pub stack: Option<String>,
}

impl AppName {
    /// As the table keeps it.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\0{}", self.target, self.interpreter);
        for middleware in &self.middleware {
            text.push('\0');
            text.push_str(middleware);
        }
        text
    }

    /// As it was kept.
    pub fn from_text(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut parts = text.split('\0').map(str::to_owned);
        let (target, interpreter) = (parts.next().unwrap_or_default(), parts.next());
        Self { target, interpreter: interpreter.unwrap_or_default(), middleware: parts.collect() }
    }
}

impl Totals {
    fn read(counters: &Counters) -> Self {
        let number = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Self {
            requests: number(&counters.requests),
            errors: number(&counters.errors),
            rejected_full: number(&counters.rejected_full),
            rejected_late: number(&counters.rejected_late),
            timeouts: number(&counters.timeouts),
            queue: counters.queue.read(),
            run: counters.run.read(),
        }
    }

    fn is_empty(&self) -> bool {
        self.requests == 0 && self.rejected_full == 0 && self.run.count() == 0
    }

    pub fn rejected(&self) -> u64 {
        self.rejected_full + self.rejected_late
    }
}

impl AppWorker {
    fn add_gauges(&mut self, gauges: &Gauges) {
        // A process that dies in the middle of a change leaves nothing to worry about, nor does one that is
        // read in the middle of it.
        let number = |number: &AtomicU32| {
            u64::try_from(number.load(Ordering::Relaxed).cast_signed()).unwrap_or(0)
        };
        self.in_flight += number(&gauges.in_flight);
        self.queued += number(&gauges.queued);
        self.busy += number(&gauges.busy);
        self.threads += number(&gauges.threads);
    }

    /// The sum over several workers.
    pub fn sum<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        for one in all {
            let (totals, more) = (&mut sum.totals, &one.totals);
            totals.requests += more.requests;
            totals.errors += more.errors;
            totals.rejected_full += more.rejected_full;
            totals.rejected_late += more.rejected_late;
            totals.timeouts += more.timeouts;
            totals.queue.add(&more.queue);
            totals.run.add(&more.run);
            sum.in_flight += one.in_flight;
            sum.queued += one.queued;
            sum.busy += one.busy;
            sum.threads += one.threads;
        }
        sum
    }
}

impl Snapshot {
    /// What the table says now. `rows` are those of the applications of this configuration, `workers` how many
    /// it has, `question` what stacks have been asked for with.
    pub fn take(rows: &[usize], workers: usize, question: Option<u32>) -> Option<Self> {
        let table = here()?.table;
        let processes: Vec<Alive> =
            table.alive().map(|(slot, row)| Alive::read(slot, row)).collect();
        Some(Self {
            pid: std::process::id(),
            apps: apps(&table, rows, workers, &processes),
            workers: workers_of(&table, workers, &processes, question),
            flights: flights(&table, &processes, question),
            unlisted: unlisted(&table, &processes),
        })
    }
}

/// A process that lives.
struct Alive {
    slot: usize,
    pid: u32,
    worker: usize,
    started: u64,
}

impl Alive {
    fn read(slot: usize, row: &super::table::Slot) -> Self {
        let pid = Life::from_bits(row.life.load(Ordering::Relaxed)).pid;
        let worker = row.worker.load(Ordering::Relaxed) as usize;
        let started = row.started.load(Ordering::Relaxed);
        Self { slot, pid, worker, started }
    }
}

fn apps(
    table: &Table,
    rows: &[usize],
    workers: usize,
    processes: &[Alive],
) -> Vec<(AppName, Vec<AppWorker>)> {
    let mut apps = Vec::new();
    for (row, name) in table.names() {
        let mut all = Vec::new();
        for worker in 0..table.workers.len() {
            let totals = Totals::read(table.counters(row, worker));
            let mut app = AppWorker { worker, totals, ..AppWorker::default() };
            for process in processes.iter().filter(|process| process.worker == worker) {
                app.add_gauges(table.gauges(row, process.slot));
            }
            // A worker that a smaller configuration has no more still counts for the sum.
            if worker < workers || app.in_flight > 0 || !app.totals.is_empty() {
                all.push(app);
            }
        }
        // An application that is no longer configured is shown while an old worker still runs it.
        if rows.contains(&row) || all.iter().any(|app| app.in_flight > 0) {
            apps.push((AppName::from_text(&name), all));
        }
    }
    apps
}

fn workers_of(
    table: &Table,
    workers: usize,
    processes: &[Alive],
    question: Option<u32>,
) -> Vec<Worker> {
    let rows = table.workers.iter().enumerate().map(|(worker, row)| {
        let own = processes.iter().filter(|process| process.worker == worker);
        let processes = own.map(|process| Process {
            pid: process.pid,
            started: process.started as f64 / 1000.0,
            resident: life::resident_memory(process.pid),
            has_answered: question
                .is_some_and(|question| stacks::has_answered(table, process.slot, question)),
        });
        let replaced = row.replaced.each_ref().map(|count| count.load(Ordering::Relaxed));
        Worker { worker, replaced, processes: processes.collect() }
    });
    rows.filter(|row| {
        row.worker < workers || !row.processes.is_empty() || row.replaced.iter().any(|n| *n > 0)
    })
    .collect()
}

/// The requests of all processes, the oldest first.
fn flights(table: &Table, processes: &[Alive], question: Option<u32>) -> Vec<Flying> {
    let now = milliseconds();
    let names: Vec<(usize, Vec<u8>)> = table.names().collect();
    let mut flights = Vec::new();
    for process in processes {
        for read in flight::read_all(table, process.slot) {
            let name = names.iter().find(|(row, _)| *row == read.app);
            let Some((_, name)) = name else { continue };
            let (method, target) = words(&read.line);
            flights.push(Flying {
                app: AppName::from_text(name),
                worker: process.worker,
                pid: process.pid,
                state: read.state,
                age: now.saturating_sub(read.begun) as f64 / 1000.0,
                thread_name: String::from_utf8_lossy(&read.thread_name).into_owned(),
                thread: read.thread,
                method,
                target,
                stack: question
                    .filter(|question| stacks::has_answered(table, process.slot, *question))
                    .and_then(|_| stacks::read(table, process.slot, read.index, read.sequence)),
            });
        }
    }
    flights.sort_by(|a, b| b.age.total_cmp(&a.age));
    flights
}

fn unlisted(table: &Table, processes: &[Alive]) -> u64 {
    let counted: u64 = processes
        .iter()
        .map(|process| {
            let mut sum = AppWorker::default();
            for row in 0..table.capacity().apps {
                sum.add_gauges(table.gauges(row, process.slot));
            }
            let used = table.slots[process.slot].used.iter();
            let listed: u32 = used.map(|used| used.load(Ordering::Relaxed).count_ones()).sum();
            sum.in_flight.saturating_sub(listed.into())
        })
        .sum();
    counted
}

/// Method and target of a request line, in plain ASCII.
fn words(line: &[u8]) -> (String, String) {
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let plain = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| match byte {
                0x21..=0x7e => char::from(*byte).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect()
    };
    (plain(&line[..end]), plain(line.get(end + 1..).unwrap_or_default()))
}
