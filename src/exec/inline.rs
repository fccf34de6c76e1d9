//! The inline executor: the event loop's own thread runs the application.
//!
//! A turn enters Python, runs the request's slice until it has to wait for the client, has had its share, or
//! ends, and leaves Python again, at the latest when nginx waits for events (stay.rs), so that threads of
//! applications run.

use core::cell::Ref;
use core::time::Duration;
use std::time::Instant;

use nginx_sys::ngx_log_t;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::error::Error;
use crate::handler::{Job, State, Turn};
use crate::nginx::event::{self, Blocking};
use crate::nginx::{self, ClientBody, Flow, Level, log};
use crate::py::{Handle, PyBlock};
use crate::reactor;
use crate::stats;
use crate::wsgi::{Body, Draft, Environ, Exchange, Host, LineLog, Writer};

use super::line::{Given, Line, Offer};
use super::report::Failure;
use super::slice::Slice;
use super::stay;
use super::writing::{Refused, Written};
use super::{Domain, name, parts, report, slice};

/// The gateway's types of this executor.
pub struct Inline;

impl Host for Inline {
    type Writer = JobWriter;
    type Log = RequestLog;
    type Body = ClientBody;
}

impl Body for ClientBody {
    fn remaining(&self) -> Option<u64> {
        Some(ClientBody::remaining(self))
    }

    fn at_hand(&mut self) -> &[u8] {
        ClientBody::at_hand(self)
    }
}

/// `wsgi.errors` of one request.
pub struct RequestLog(Handle<ngx_log_t>);

impl LineLog for RequestLog {
    fn line(&self, line: &[u8]) {
        match self.0.get() {
            Some(log) => {
                // SAFETY: the handle is emptied before the connection's log goes.
                let log = unsafe { nginx::Log::from_ptr(core::ptr::from_ref(log).cast_mut()) };
                log.write(Level::Error, [b"wsgi: ", line].concat());
            }
            None => log::python_line(line),
        }
    }

    fn end(&self) {
        self.0.revoke();
    }
}

/// `write()` of one request.
pub struct JobWriter(Handle<Job>);

impl Writer for JobWriter {
    fn write(&self, py: Python<'_>, draft: &Draft, block: PyBlock) -> PyResult<()> {
        match self.0.get() {
            Some(job) => {
                let written = Written::new(draft, job.service(), block)?;
                reactor::sends(job);
                let flow = job.write(written, false)?;
                if flow == Flow::Again { wait_for_client(py, job) } else { Ok(()) }
            }
            None => Err(PyRuntimeError::new_err(
                "write() must be called in the thread that runs the application",
            )),
        }
    }

    fn discard(&self) {
        if let Some(job) = self.0.get() {
            job.discard_written();
        }
    }

    fn end(&self) {
        self.0.revoke();
    }
}

/// The line of a slice on nginx's thread: everything happens at once.
impl Line for Job {
    type Host = Inline;

    fn state(&self) -> State {
        self.state.get()
    }

    fn set(&self, state: State) {
        self.state.set(state);
    }

    fn is_head(&self) -> bool {
        self.request().is_head()
    }

    fn begin(&self, py: Python<'_>) {
        if let Some(runner) = self.domain().and_then(|domain| self.runner(domain)) {
            runner.begin(py);
        }
    }

    fn note_empty(&self) {
        reactor::begin(self);
    }

    fn pause(&self, py: Python<'_>) -> Option<Turn> {
        reactor::pause(py, self)
    }

    fn give(&self, _py: Python<'_>, offer: Offer) -> Result<(), Error> {
        reactor::sends(self);
        self.take(offer)
    }

    fn fail(&self, failure: Failure) {
        Job::fail(self, &failure);
    }

    fn tell(&self, f: impl FnOnce(&Job) + Send + 'static) {
        f(self);
    }
}

/// Waits until what was written is with the kernel. The event loop stands still meanwhile.
fn wait_for_client(py: Python<'_>, job: &Job) -> PyResult<()> {
    let r = job.request();
    if job.service().app.warn_of_writing() {
        r.log().write(
            Level::Warn,
            format!(
                "wsgi: {} calls write(), which blocks the event loop while a client reads slowly; yield \
                 the blocks instead, or use wsgi_threads (said once)",
                name(&job.service().app)
            ),
        );
    }
    // nginx may hold the block for another reason than the socket, an SSI include for example; that is not
    // waited for here, but by the machine when the application has returned.
    let (mut flow, mut sent) = (Flow::Again, None);
    while flow == Flow::Again && r.is_active() && sent.replace(r.sent()) != Some(r.sent()) {
        let wait = Blocking::new(r);
        if !py.detach(|| wait.wait()) {
            event::set_timed_out(r);
            job.output.borrow_mut().abandon();
            job.state.set(State::Closing(nginx::REQUEST_TIME_OUT));
            return Err(Refused::TimedOut.into());
        }
        wait.done(r);
        flow = job.output.borrow_mut().flush();
    }
    job.release();
    match flow {
        Flow::Gone => Err(Refused::ClientGone.into()),
        Flow::Taken | Flow::Again => Ok(()),
    }
}

/// Sends the head, if it has not been sent, and what is held back; from inside a step of the application.
///
/// # Errors
/// `RuntimeError`: there is no head yet.
pub fn flush(py: Python<'_>, job: &Job) -> PyResult<()> {
    let state = job.state.get();
    if !matches!(state, State::Calling | State::Sending) {
        // The response has ended, HEAD for example.
        return Ok(());
    }
    let exchange = job.exchange.borrow();
    let Some(exchange) = &*exchange else { return Ok(()) };
    let (head, blocks) = exchange.draft(py, |draft| {
        let head = (!draft.is_committed()).then(|| slice::commit(draft, job.service()));
        match head {
            Some(None) => Err(PyRuntimeError::new_err("flush() before start_response()")),
            head => Ok((head.flatten(), draft.give(Vec::new()))),
        }
    })?;
    reactor::sends(job);
    let is_lost = job.take(Offer { head, given: Given::Blocks(blocks) }).is_err();
    if is_lost {
        return Err(Refused::ClientGone.into());
    }
    if matches!(job.state.get(), State::Sending | State::Draining(_)) {
        // Nothing may follow the end of the body, which is there when a Content-Length is reached.
        if !job.output.borrow().is_finished() {
            job.send_nothing();
        }
        // Still in a step. What nginx holds is waited for after it.
        exchange.draft(py, Draft::note_writing);
        job.state.set(state);
    }
    Ok(())
}

/// Runs a turn of `job`.
pub fn run(job: &Job) -> Turn {
    let Some(domain) = job.domain() else {
        let text = format!("wsgi: {} {}", name(&job.service().app), Error::NoInterpreter);
        job.request().log().write(Level::Error, text);
        job.run_time.set(Some(Duration::ZERO));
        job.has_failed.set(true);
        return Turn::Finish(nginx::INTERNAL_SERVER_ERROR);
    };
    if job.run_time.get().is_none() {
        job.conf().stats().waited(Duration::ZERO);
    }
    job.flight.borrow().runs_in(0, "nginx");
    let begun = Instant::now();
    let runner = job.runner(domain);
    let turn = stay::during(|| {
        domain.interpreter.enter(|py| {
            if let Some(runner) = runner.filter(|_| job.state.get() != State::Calling) {
                runner.begin(py);
            }
            let turn = turn(py, domain, job);
            if let Some(runner) = runner {
                runner.end(py);
            }
            turn
        })
    });
    let held = begun.elapsed();
    job.flight.borrow().leaves_thread();
    if job.state.get() == State::Suspended {
        job.flight.borrow().set_state(stats::State::Suspended);
    }
    job.run_time.set(Some(job.run_time.get().unwrap_or_default() + held));
    warn_of_blocking(job, held);
    turn
}

/// The request ends, and everything of it is still there: ends the exchange.
pub fn conclude(job: &Job) {
    // Borrowed: a filter ends the request inside our own turn, which ends the exchange itself.
    let is_open = job.exchange.try_borrow_mut().is_ok_and(|exchange| exchange.is_some());
    if is_open && let Some(domain) = job.domain() {
        domain.interpreter.enter(|py| end_if_sent(py, domain, job));
    }
}

/// Ends what a job has in Python, whatever state it is in: its request's pool is being destroyed, or the
/// process ends.
pub fn abandon(job: &Job) {
    // nginx's part of it may be gone.
    job.state.set(State::Done);
    let blocks = job.output.borrow_mut().surrender();
    if blocks.is_empty() && job.exchange.borrow().is_none() {
        return;
    }
    if let Some(domain) = job.domain() {
        domain.interpreter.enter(|py| {
            drop(blocks);
            end(py, domain, job);
        });
    }
}

fn turn(py: Python<'_>, domain: &Domain, job: &Job) -> Turn {
    job.release();
    if job.state.get() == State::Calling
        && let Err(error) = prepare(py, domain, job)
    {
        fail(py, domain, job, &Error::Raised(error));
    }
    let mut turn = None;
    if let Ok(exchange) = Ref::filter_map(job.exchange.borrow(), Option::as_ref) {
        let (service, gateway) = (&**job.service(), &domain.gateway);
        let slice = Slice { py, domain, gateway, service, exchange: &exchange, line: job };
        let environ = |template: &Environ| {
            parts::with(job.request(), job.conf(), |parts| {
                Ok(exchange.environ(py, gateway, template, parts)?)
            })
        };
        match reactor::during(job, || exchange.slice(py, || slice.run(environ))) {
            Ok(done) => turn = done,
            Err(error) => slice.fail(&Error::Raised(error)),
        }
    }
    match (turn, job.state.get()) {
        (Some(turn), _) => turn,
        (None, State::Closing(rc)) => {
            end_if_sent(py, domain, job);
            Turn::Finish(rc)
        }
        (None, State::Redirecting(redirect)) => {
            end(py, domain, job);
            Turn::Redirect(redirect)
        }
        (None, _) => Turn::Finish(nginx::ERROR),
    }
}

/// Makes the exchange.
fn prepare(py: Python<'_>, domain: &Domain, job: &Job) -> PyResult<()> {
    let r = job.request();
    parts::find_constants(r, job.service());
    // SAFETY: the exchange is ended, and with it the handles emptied and the body dropped, before the job
    // and the request go: by the last turn or by the drop of the job.
    let (writer, log, body) = unsafe {
        (JobWriter(Handle::new(job)), RequestLog(Handle::new(&*r.connection().log)), r.body())
    };
    let body = body.filter(|_| !job.conf().pass_request_body.is_off());
    let exchange = Exchange::new(py, &domain.gateway, writer, log, body)?;
    job.exchange.replace(Some(exchange));
    Ok(())
}

/// Ends the exchange, unless nginx may still read from the application's file: a stream of HTTP/2 that is
/// given up leaves its frames in the queue. Such a file is closed when nginx destroys the request's pool.
fn end_if_sent(py: Python<'_>, domain: &Domain, job: &Job) {
    if !job.output.borrow().is_sending_file() {
        end(py, domain, job);
    } else if let Some(exchange) = &*job.exchange.borrow() {
        exchange.take_back(py);
    }
}

/// Ends the exchange: `close()`, and Python's objects go.
fn end(py: Python<'_>, domain: &Domain, job: &Job) {
    // What it waits for goes before close(), which may close the descriptors.
    reactor::end(py, job);
    let exchange = job.exchange.take();
    if let Some(exchange) = exchange {
        if let Err(raised) = exchange.end(py, &domain.gateway) {
            let failure = report::describe_close(py, domain, &job.service().app, &raised);
            job.request().log().write_all(Level::Error, &failure.text, &failure.traceback);
        }
        exchange.give_back(py, &domain.gateway);
    }
    job.release();
}

fn fail(py: Python<'_>, domain: &Domain, job: &Job, error: &Error) {
    job.fail(&report::describe(py, domain, &job.service().app, error));
}

fn warn_of_blocking(job: &Job, held: Duration) {
    // Not to be used once finalized: the request is the caller's to finalize, so it is alive here.
    let Some(limit) = job.conf().block_limit() else { return };
    if held > limit && job.service().app.warn_of_blocking() {
        let held = held.as_millis();
        job.request().log().write(
            Level::Warn,
            format!(
                "wsgi: {} held the event loop for {held} ms, during which its worker served nobody \
                 else; make it faster, or run more worker processes (said once, see \
                 wsgi_block_warning)",
                name(&job.service().app)
            ),
        );
    }
}
