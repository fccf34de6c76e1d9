//! The inline executor: the event loop's own thread runs the application.
//!
//! A turn enters Python, runs the request's slice until it has to wait for the client, has had its share,
//! or ends, and leaves Python again, so that threads of applications run while nginx waits for events.

use core::cell::Ref;
use std::time::Instant;

use nginx_sys::ngx_log_t;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::error::Error;
use crate::handler::{Job, State, Turn};
use crate::nginx::{self, ClientBody, Level, log};
use crate::py::{Handle, PyBlock};
use crate::wsgi::{Body, Exchange, Host, LineLog, Writer};

use super::slice::Slice;
use super::{Domain, name, report};

/// The gateway's types of this executor.
pub struct Inline;

impl Host for Inline {
    type Writer = JobWriter;
    type Log = RequestLog;
    type Body = ClientBody;
}

impl Body for ClientBody {
    fn remaining(&self) -> u64 {
        ClientBody::remaining(self)
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
    fn write(&self, py: Python<'_>, block: PyBlock) -> PyResult<()> {
        let job = self.0.get();
        match job.and_then(|job| Some((job, job.domain()?))) {
            Some((job, domain)) => {
                let exchange = job.exchange.borrow();
                match &*exchange {
                    Some(exchange) => Slice { py, domain, job, exchange }.write(block),
                    None => Ok(()),
                }
            }
            None => Err(PyRuntimeError::new_err(
                "write() must be called in the thread that runs the application",
            )),
        }
    }

    fn discard(&self) {
        if let Some(job) = self.0.get() {
            if let Some(spool) = &mut *job.spool.borrow_mut() {
                spool.discard();
            }
            job.meter.take();
            let held = job.output.borrow_mut().take_held();
            drop(held);
        }
    }

    fn end(&self) {
        self.0.revoke();
    }
}

/// Runs a turn of `job`.
pub fn run(job: &Job) -> Turn {
    let Some(domain) = job.domain() else {
        let text = format!("wsgi: {} cannot run, its interpreter did not start", name(job.app()));
        job.request().log().write(Level::Error, text);
        return Turn::Finish(nginx::INTERNAL_SERVER_ERROR);
    };
    let begun = Instant::now();
    let turn = domain.interpreter.enter(|py| turn(py, domain, job));
    warn_of_blocking(job, begun);
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
        fail(py, domain, job, &error);
    }
    let mut turn = None;
    if let Ok(exchange) = Ref::filter_map(job.exchange.borrow(), Option::as_ref) {
        let slice = Slice { py, domain, job, exchange: &exchange };
        match exchange.slice(py, || slice.run()) {
            Ok(done) => turn = done,
            Err(error) => fail(py, domain, job, &Error::Raised(error)),
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
fn prepare(py: Python<'_>, domain: &Domain, job: &Job) -> Result<(), Error> {
    let r = job.request();
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
    let exchange = job.exchange.take();
    if let Some(exchange) = exchange
        && let Err(raised) = exchange.end(py, &domain.gateway)
    {
        report::close_failed(py, domain, job.request().log(), job.app(), &raised);
    }
    job.release();
}

/// Logs what went wrong and decides how the response ends.
pub fn fail(py: Python<'_>, domain: &Domain, job: &Job, error: &Error) {
    let (is_gone, is_head_sent, is_finished) = {
        let output = job.output.borrow();
        (output.is_gone(), output.is_head_sent(), output.is_finished())
    };
    let rc = match job.state.get() {
        // The response has ended already, HEAD for example.
        State::Closing(rc) => rc,
        State::Redirecting(_) => nginx::INTERNAL_SERVER_ERROR,
        _ if is_gone => nginx::ERROR,
        _ if !is_head_sent => nginx::INTERNAL_SERVER_ERROR,
        _ if is_finished => nginx::OK,
        _ => nginx::ERROR,
    };
    let is_cut = is_head_sent && !is_gone && rc == nginx::ERROR;
    let suffix =
        if is_cut { " after the headers were sent, the response is cut short" } else { "" };
    // An application that fails because its client has left is no error of the application.
    let level = if is_gone { Level::Info } else { Level::Error };
    let (log, app) = (job.request().log(), job.app());
    report::failed(py, domain, log, level, app, error, suffix);
    job.state.set(State::Closing(rc));
}

fn warn_of_blocking(job: &Job, begun: Instant) {
    // Not to be used once finalized: the request is the caller's to finalize, so it is alive here.
    let Some(limit) = job.conf().block_warning.unwrap_or(Some(100)) else { return };
    let held = begun.elapsed().as_millis();
    if held > limit as u128 && job.app().warn_of_blocking() {
        job.request().log().write(
            Level::Warn,
            format!(
                "wsgi: {} held the event loop for {held} ms, during which its worker served nobody \
                 else; make it faster, or run more worker processes (said once, see \
                 wsgi_block_warning)",
                name(job.app())
            ),
        );
    }
}
