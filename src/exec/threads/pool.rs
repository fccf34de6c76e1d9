//! A pool of threads: `wsgi_threads` of an application, or a `wsgi_thread_pool`.
//!
//! Made with the configuration, started by each worker that serves, closed when the configuration goes. Its
//! threads keep their state in Python as long as they live, so that `threading.local` works as in any server.

use core::cell::{OnceCell, RefCell};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::exec::name;
use crate::handover::{Load, Queue, lock};
use crate::nginx::{Alarm, Level, log, process};
use crate::py::Interpreter;
use crate::stats::Rejection;
use crate::wsgi::App;

use super::census;
use super::run;
use super::task::Task;

/// How many requests may wait for a thread, unless the configuration says it.
pub const DEFAULT_QUEUE: usize = 1024;

/// A pool and what it is called.
pub struct Pool {
    owner: Owner,
    queue: Queue<Task>,
    is_started: AtomicBool,
    has_threads: AtomicBool,
    /// Requests that nginx's thread has given to it and not heard the end of; only touched there.
    given: AtomicUsize,
    /// Of a full queue, and of requests that waited too long.
    complaints: [Mutex<Complaint>; 2],
}

enum Owner {
    App(Arc<App>),
    Name(String),
}

/// The pools that have been started in this worker.
static STARTED: Mutex<Vec<Arc<Pool>>> = Mutex::new(Vec::new());

/// How many threads of this worker are inside applications.
pub(super) fn busy_threads() -> usize {
    let pools = lock(&STARTED);
    pools.iter().map(|pool| pool.queue.load().busy).sum()
}

/// What has been said of requests that found no room: one line a second.
#[derive(Default)]
struct Complaint {
    last: Option<Instant>,
    unsaid: u64,
}

impl Pool {
    /// The pool of one application.
    pub fn of_app(app: &Arc<App>, threads: usize, queue: usize) -> Self {
        Self::new(Owner::App(Arc::clone(app)), threads, queue)
    }

    /// A pool with a name.
    pub fn named(name: String, threads: usize, queue: usize) -> Self {
        Self::new(Owner::Name(name), threads, queue)
    }

    fn new(owner: Owner, threads: usize, queue: usize) -> Self {
        Self {
            owner,
            queue: Queue::new(threads, queue),
            is_started: AtomicBool::new(false),
            has_threads: AtomicBool::new(false),
            given: AtomicUsize::new(0),
            complaints: Default::default(),
        }
    }

    /// Its name, if it has one.
    pub fn name(&self) -> Option<&str> {
        match &self.owner {
            Owner::Name(name) => Some(name),
            Owner::App(_) => None,
        }
    }

    /// Whether it is the own pool of `app`.
    pub fn is_of(&self, app: &Arc<App>) -> bool {
        matches!(&self.owner, Owner::App(own) if Arc::ptr_eq(own, app))
    }

    /// Whether it has so many threads and room for so many requests.
    pub fn is_like(&self, threads: usize, queue: usize) -> bool {
        (self.queue.threads(), self.queue.capacity()) == (threads, queue)
    }

    /// The arguments of `wsgi_threads` that made it.
    pub fn shown(&self) -> String {
        Self::show(self.queue.threads(), self.queue.capacity())
    }

    /// Arguments of `wsgi_threads`.
    pub fn show(threads: usize, queue: usize) -> String {
        match queue {
            DEFAULT_QUEUE => threads.to_string(),
            queue => format!("{threads} queue={queue}"),
        }
    }

    /// The requests that wait for it.
    pub(super) fn queue(&self) -> &Queue<Task> {
        &self.queue
    }

    /// How many threads it has, and how it stands.
    pub fn load(&self) -> (usize, Load) {
        (self.queue.threads(), self.queue.load())
    }

    /// Counts a request that comes. True if a thread was idle.
    pub(super) fn enter(&self) -> bool {
        self.given.fetch_add(1, Ordering::Relaxed) < self.queue.threads()
    }

    /// Counts a request that goes. True if a thread becomes idle.
    pub(super) fn leave(&self) -> bool {
        self.given.fetch_sub(1, Ordering::Relaxed) <= self.queue.threads()
    }

    /// Whether its threads have been started.
    pub fn is_started(&self) -> bool {
        self.is_started.load(Ordering::Relaxed)
    }

    /// How it is called in the log.
    pub(super) fn title(&self) -> String {
        match &self.owner {
            Owner::App(app) => name(app),
            Owner::Name(name) => format!("thread pool \"{name}\""),
        }
    }

    /// Whether there is at least one thread.
    pub fn has_threads(&self) -> bool {
        self.has_threads.load(Ordering::Relaxed)
    }

    /// Starts the threads, if that has not been done. `first` is the first thing that one of them does. False
    /// if there is none.
    pub(super) fn start(
        self: &Arc<Self>,
        interpreter: &'static Interpreter,
        first: impl FnOnce() + Send + 'static,
    ) -> bool {
        if self.is_started.swap(true, Ordering::Relaxed) {
            return self.has_threads();
        }
        lock(&STARTED).push(Arc::clone(self));
        let mut first: Option<Box<dyn FnOnce() + Send>> = Some(Box::new(first));
        let threads = self.queue.threads();
        census::start(threads);
        for number in 1..=threads {
            let (pool, first) = (Arc::clone(self), first.take());
            let number = number as u32;
            let body = move || {
                interpreter.settle(|| {
                    if let Some(first) = first {
                        first();
                    }
                    run::work(interpreter, pool.queue(), number);
                });
            };
            let name = format!("{}-{number}", self.name().unwrap_or("wsgi"));
            if let Err(error) = process::spawn(&name, body) {
                let (title, missing) = (self.title(), threads + 1 - number as usize);
                let text = format!(
                    "wsgi: {missing} of {threads} threads of {title} cannot start: {error}"
                );
                log::write_line(Level::Error, text.as_bytes());
                return self.has_threads();
            }
            self.has_threads.store(true, Ordering::Relaxed);
        }
        true
    }

    /// On nginx's thread: has a thread woken at the end of this turn of the event loop. One that is woken at
    /// once would often take the processor at once, for one request after the other.
    pub(super) fn rouse_later(self: &Arc<Self>) {
        thread_local! {
            static POOLS: RefCell<Vec<Arc<Pool>>> = const { RefCell::new(Vec::new()) };
            static ALARM: OnceCell<&'static Alarm> = const { OnceCell::new() };
        }
        fn rouse() {
            POOLS.with_borrow_mut(|pools| pools.drain(..).for_each(|pool| pool.queue.rouse()));
        }
        POOLS.with_borrow_mut(|pools| {
            if !pools.iter().any(|pool| Arc::ptr_eq(pool, self)) {
                pools.push(Arc::clone(self));
                ALARM.with(|alarm| alarm.get_or_init(|| Alarm::new(rouse)).post());
            }
        });
    }

    /// Takes a request out that no thread has taken. False if one has.
    pub(super) fn withdraw(&self, task: &Arc<Task>) -> bool {
        let is_out = self.queue.withdraw(task);
        if is_out {
            census::leave(self);
        }
        is_out
    }

    /// Has the threads leave when they have done what waits.
    pub fn close(&self) {
        self.queue.close();
        let mut started = lock(&STARTED);
        started.retain(|pool| !core::ptr::eq(&**pool, self));
    }

    /// What is to be logged of a request that found no room; `None` less than a second after the last line.
    pub(super) fn complain(&self, why: Rejection) -> Option<String> {
        let mut complaint = lock(&self.complaints[why as usize]);
        let now = Instant::now();
        if complaint.last.is_some_and(|last| now - last < Duration::from_secs(1)) {
            complaint.unsaid += 1;
            return None;
        }
        let more = match core::mem::take(&mut complaint.unsaid) {
            0 => String::new(),
            unsaid => format!(" (and {unsaid} more since the last message)"),
        };
        complaint.last = Some(now);
        Some(more)
    }
}
