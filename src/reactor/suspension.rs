//! Suspension: a request gives the event loop back until somebody resumes it, or its time is over.
//!
//! The application asks for it, and yields an empty item; from there on the request waits in
//! `State::Suspended`, with a timer. Belongs to the job, from the first time that the application asks for
//! anything here until the exchange ends.

use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use nginx_sys::ngx_msec_t;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::exec;
use crate::handler::{Job, State, Then, Turn};
use crate::nginx::{self, Level, Subrequest, event};
use crate::py::Kept;

use super::Reactor;
use super::request::Request;
use super::ticket::Ticket;

/// `wsgi_suspend_timeout`, in milliseconds.
const DEFAULT_LIMIT: ngx_msec_t = 60_000;

/// Far longer than it takes until a request has its turn, in milliseconds.
const GRACE: ngx_msec_t = 60_000;

/// What a request has of the reactor. To be dropped attached.
pub struct Suspension {
    /// What Python has of it.
    pub request: Kept<Request>,
    /// What the layers in Python keep for the request.
    pub store: Py<PyDict>,
    /// To be cancelled when the suspension ends.
    attached: RefCell<Vec<Py<PyAny>>>,
    wait: RefCell<Option<Wait>>,
    /// Whether the last one ended because its own time was over.
    has_timed_out: Cell<bool>,
    /// Subrequests that were not done when the suspension ended that waited for them.
    unfinished: RefCell<Vec<Subrequest>>,
}

/// A suspension that has been asked for.
struct Wait {
    ticket: Arc<Ticket>,
    /// The application's own limit.
    timeout: Option<Duration>,
    /// When it began: when the application had yielded an empty item.
    begun: Option<Instant>,
    /// Whether its time is over.
    is_due: bool,
    /// Whether it is to go on in a turn of the reactor.
    is_queued: bool,
    /// It ends as well when all of them are done.
    subrequests: Vec<Subrequest>,
}

impl Wait {
    /// Whether all is there that it waits for.
    fn is_answered(&self) -> bool {
        !self.subrequests.is_empty() && self.subrequests.iter().all(Subrequest::is_done)
    }
}

impl Suspension {
    pub fn new(py: Python<'_>, request: Kept<Request>) -> Self {
        Self {
            request,
            store: PyDict::new(py).unbind(),
            attached: RefCell::default(),
            wait: RefCell::default(),
            has_timed_out: Cell::new(false),
            unfinished: RefCell::default(),
        }
    }

    /// Asks for a suspension of `job`: it begins with the next empty item. Asked for twice, it is one, and the
    /// first event ends it.
    pub fn ask(&self, job: &Job, timeout: Option<Duration>) -> PyResult<Arc<Ticket>> {
        let mut wait = self.wait.borrow_mut();
        if let Some(wait) = &mut *wait {
            wait.timeout = wait.timeout.into_iter().chain(timeout).min();
            return Ok(Arc::clone(&wait.ticket));
        }
        let ticket = Ticket::new(job)?;
        *wait = Some(Wait {
            ticket: Arc::clone(&ticket),
            timeout,
            begun: None,
            is_due: false,
            is_queued: false,
            subrequests: Vec::new(),
        });
        Ok(ticket)
    }

    /// Asks for a suspension of `job` that ends when this subrequest is done, and all others that it is to wait
    /// for.
    pub fn wait_for(&self, job: &Job, subrequest: Subrequest) -> PyResult<()> {
        self.ask(job, None)?;
        if let Some(wait) = &mut *self.wait.borrow_mut() {
            wait.subrequests.push(subrequest);
        }
        Ok(())
    }

    /// Has `cancel()` of an object called when the suspension ends.
    pub fn attach(&self, object: Py<PyAny>) {
        self.attached.borrow_mut().push(object);
    }

    /// What is to be sent does not wait for subrequests for which the application has not waited.
    fn abandon_subrequests(&self, job: &Job) {
        for subrequest in self.unfinished.take() {
            subrequest.abandon(job.request());
        }
    }

    pub fn has_timed_out(&self) -> bool {
        self.has_timed_out.get()
    }

    /// The suspension is over.
    fn finish(&self, py: Python<'_>) {
        if let Some(wait) = self.wait.take() {
            wait.ticket.end();
            let unfinished = wait.subrequests.into_iter().filter(|asked| !asked.is_done());
            self.unfinished.borrow_mut().extend(unfinished);
        }
        for object in self.attached.take() {
            if let Err(error) = object.call_method0(py, "cancel") {
                error.write_unraisable(py, None);
            }
        }
    }
}

impl Job {
    /// What it has of the reactor, if its application has asked for anything.
    pub fn suspension(&self) -> Option<Rc<Suspension>> {
        self.suspension.borrow().clone()
    }

    fn suspend_limit(&self) -> Duration {
        Duration::from_millis(self.conf().suspend_timeout.unwrap_or(DEFAULT_LIMIT) as u64)
    }
}

/// The application of `job` has yielded an empty item: a suspension that it has asked for begins.
pub fn begin(job: &Job) {
    if let Some(suspension) = job.suspension()
        && let Some(wait) = &mut *suspension.wait.borrow_mut()
    {
        suspension.has_timed_out.set(false);
        wait.begun.get_or_insert_with(Instant::now);
    }
}

/// The application of `job` gives something that is to be sent.
pub fn sends(job: &Job) {
    if let Some(suspension) = job.suspension() {
        suspension.abandon_subrequests(job);
    }
}

/// What `job` has to wait for before its application is asked for more, if there is anything.
pub fn pause(py: Python<'_>, job: &Job) -> Option<Turn> {
    let suspension = job.suspension()?;
    let (is_over, left) = match &*suspension.wait.borrow() {
        Some(wait @ Wait { ticket, timeout, begun: Some(begun), .. }) => {
            let limit = job.suspend_limit().min(timeout.unwrap_or(Duration::MAX));
            (ticket.is_used() || wait.is_answered(), limit.saturating_sub(begun.elapsed()))
        }
        _ => return None,
    };
    if is_over {
        suspension.finish(py);
        return None;
    }
    // Nobody would see to what nginx holds, if it holds anything.
    if !job.output.borrow().may_go_on() {
        job.state.set(State::Draining(Then::Send));
        return Some(Turn::Wait);
    }
    job.state.set(State::Suspended);
    // nginx's clock stands still while the application runs. A timer of 0 could end before nginx has looked for
    // what has happened.
    event::update_time();
    Some(Turn::Sleep(left.as_micros().div_ceil(1000).max(1) as ngx_msec_t))
}

/// On nginx's thread: somebody has used the ticket of `job`.
pub fn resumed(job: &Job) {
    // Otherwise it has not begun, or waits for the client first.
    if job.state.get() == State::Suspended {
        wake(job);
    }
}

/// A suspended `job` has been called, perhaps for no reason. If there is one it goes on in a turn of the reactor.
pub fn wake(job: &Job) {
    let Some(suspension) = job.suspension() else { return };
    let mut wait = suspension.wait.borrow_mut();
    let Some(wait) = &mut *wait else { return };
    if job.time_is_over() {
        wait.is_due = true;
        // A worker that quits is to wait for that turn too.
        job.sleep(GRACE);
    }
    let has_reason = wait.is_due || wait.ticket.is_used() || wait.is_answered();
    if has_reason && !wait.is_queued {
        wait.is_queued = true;
        Reactor::try_with(|reactor| reactor.go_on(wait.ticket.key()));
    }
}

/// The turn of a `job` that has been woken.
pub fn go_on(job: &Job) {
    if job.state.get() != State::Suspended {
        return;
    }
    job.enter(|job| {
        if let Some(state) = outcome(job) {
            job.state.set(state);
            job.drive();
        }
    });
}

/// How the suspension of `job` ends: the state in which it goes on.
fn outcome(job: &Job) -> Option<State> {
    let suspension = job.suspension()?;
    let wait = suspension.wait.borrow();
    let wait = wait.as_ref()?;
    if !wait.ticket.take() || wait.is_answered() {
        return Some(State::Sending);
    }
    let limit = job.suspend_limit();
    if wait.timeout.is_some_and(|timeout| timeout <= limit) {
        suspension.has_timed_out.set(true);
        return Some(State::Sending);
    }
    let text = format!(
        "wsgi: {} was suspended for longer than {} s (wsgi_suspend_timeout)",
        exec::name(&job.service().app),
        limit.as_secs_f64()
    );
    job.request().log().write(Level::Error, text);
    job.has_failed.set(true);
    let rc = if job.is_head_sent() { nginx::ERROR } else { nginx::GATEWAY_TIME_OUT };
    Some(State::Closing(rc))
}

/// The exchange of `job` ends.
pub fn end(py: Python<'_>, job: &Job) {
    if let Some(suspension) = job.suspension.take() {
        suspension.finish(py);
        if job.state.get() != State::Done {
            suspension.abandon_subrequests(job);
        }
        suspension.request.bind(py).get().end();
    }
}
