//! The worker's event loop, offered to Python: descriptors, timers, posted callbacks, and suspension.
//!
//! nginx's own events (`nginx::descriptor`, `nginx::alarm`) only note what has happened and post one event;
//! when that comes, at the end of the turn, Python is entered once and called for all of it. Threads reach it by a
//! bell. The reactor belongs to nginx's thread and lives as long as the worker; each callback belongs to the
//! interpreter that it was made in. Everything else that is offered is Python on these primitives
//! (python/ngx_wsgi/suspension.py, python/ngx_reactor).

mod inbox;
mod native;
mod queue;
mod request;
mod subrequest;
mod suspension;
mod ticket;
mod timer;
mod turn;
mod watch;

use core::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, VecDeque};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::handler::Job;
use crate::nginx::Alarm;
use crate::py::Interpreter;

pub use native::install;
pub use suspension::{Suspension, begin, end, pause, sends, wake};

use inbox::Message;
use timer::Pending;
use turn::{Happened, Posted};
use watch::Watched;

/// What nginx's thread keeps of the reactor.
struct Reactor {
    watches: RefCell<HashMap<u64, Watched>>,
    timers: RefCell<HashMap<u64, Pending>>,
    /// What has happened in this turn of the event loop.
    happened: RefCell<Vec<Happened>>,
    posted: RefCell<Vec<Posted>>,
    /// Requests that are to go on, by the keys of their tickets.
    woken: RefCell<VecDeque<u64>>,
    /// Calls `turn::run`.
    alarm: &'static Alarm,
    is_running: Cell<bool>,
    last_key: Cell<u64>,
}

/// A Python function that the reactor calls.
struct Callback {
    interpreter: &'static Interpreter,
    function: Py<PyAny>,
}

impl Callback {
    /// Has it called soon, on nginx's thread. In any thread.
    ///
    /// # Errors
    /// `RuntimeError`: there is no event loop.
    fn post(self) -> PyResult<()> {
        let mut this = Some(self);
        Reactor::try_with(|reactor| this.take().map(|callback| reactor.post(callback)));
        if this.is_none_or(|callback| inbox::send(Message::Post(callback))) {
            return Ok(());
        }
        Err(PyRuntimeError::new_err("there is no event loop: this process does not serve"))
    }

    fn clone_ref(&self, py: Python<'_>) -> Self {
        Self { interpreter: self.interpreter, function: self.function.clone_ref(py) }
    }
}

thread_local! {
    /// Empty in all threads but nginx's. Never dropped: that would call nginx and Python when both have ended.
    static REACTOR: OnceCell<&'static Reactor> = const { OnceCell::new() };
    /// The job whose application runs.
    static CURRENT: Cell<Option<*const Job>> = const { Cell::new(None) };
}

/// Opens the reactor of this worker, if that has not been done. To be called on nginx's thread, before Python
/// runs.
pub fn open() {
    let open = || {
        inbox::open();
        &*Box::leak(Box::new(Reactor {
            watches: RefCell::default(),
            timers: RefCell::default(),
            happened: RefCell::default(),
            posted: RefCell::default(),
            woken: RefCell::default(),
            alarm: Alarm::new(turn::run),
            is_running: Cell::new(false),
            last_key: Cell::new(0),
        }))
    };
    REACTOR.with(|reactor| {
        reactor.get_or_init(open);
    });
}

/// Runs a slice of `job`: what its application asks for meanwhile concerns this job.
pub fn during<R>(job: &Job, f: impl FnOnce() -> R) -> R {
    with_current(Some(job), f)
}

/// Runs what concerns no request, although it may be called by the application of one.
fn outside<R>(f: impl FnOnce() -> R) -> R {
    with_current(None, f)
}

fn with_current<R>(job: Option<*const Job>, f: impl FnOnce() -> R) -> R {
    struct Before(Option<*const Job>);
    impl Drop for Before {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _before = Before(CURRENT.replace(job));
    f()
}

impl Reactor {
    /// What `f` makes of it.
    ///
    /// # Errors
    /// `RuntimeError`: this is not nginx's thread, or the process does not serve.
    fn with<R>(f: impl FnOnce(&Self) -> PyResult<R>) -> PyResult<R> {
        REACTOR.with(|reactor| match reactor.get() {
            Some(reactor) => f(reactor),
            None => Err(PyRuntimeError::new_err(
                "only nginx's own thread in a worker may use its event loop; other threads may call \
                 ngx_reactor.post()",
            )),
        })
    }

    /// The same where there may be none.
    fn try_with<R>(f: impl FnOnce(&Self) -> R) -> Option<R> {
        REACTOR.with(|reactor| reactor.get().map(|reactor| f(reactor)))
    }

    /// A key that has not been used before.
    fn key(&self) -> u64 {
        self.last_key.set(self.last_key.get() + 1);
        self.last_key.get()
    }
}
