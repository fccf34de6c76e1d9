//! A slice: one stay of a request inside Python, and the machine that it moves.
//!
//! Each step asks the application for something and gives it to nginx; nginx's answer decides the next
//! state (handler.rs). `write()` comes in from inside a step (writing.rs).

use pyo3::prelude::*;

use crate::block::Block;
use crate::conf::Mechanism;
use crate::error::Error;
use crate::handler::{Job, State, Then, Turn};
use crate::nginx::{
    self, Flow, HeadFlow, Level, Ranges, Request, ResponseHead, Spool, is_one_buffer, process,
    regular_file_size,
};
use crate::py::PyBlock;
use crate::wsgi::{Exchange, Step};

use super::inline::{self, Inline};
use super::{Domain, name, parts, report};

/// A generator that never blocks gives the loop back after so many blocks or bytes.
const BLOCKS_PER_TURN: usize = 64;
const BYTES_PER_TURN: u64 = 1 << 20;

/// What is known of a body that is there as a whole.
#[derive(Clone, Copy)]
pub(super) struct Body {
    length: u64,
    /// Whether nginx gets it in one buffer.
    is_one: bool,
}

/// One stay of a request inside Python.
pub struct Slice<'a, 'py> {
    pub py: Python<'py>,
    pub domain: &'a Domain,
    pub job: &'a Job,
    pub exchange: &'a Exchange<Inline>,
}

impl Slice<'_, '_> {
    pub(super) fn request(&self) -> Request<'_> {
        self.job.request()
    }

    pub(super) fn set(&self, state: State) {
        self.job.state.set(state);
    }

    /// Steps until the request has to wait, or `None` when it is to be closed.
    pub fn run(&self) -> Option<Turn> {
        let mut blocks = 0;
        let begun = self.sent();
        loop {
            let result = match self.job.state.get() {
                State::Calling => self.call(),
                State::Sending if blocks >= BLOCKS_PER_TURN => return Some(Turn::Yield),
                State::Sending if self.sent() - begun >= BYTES_PER_TURN => {
                    return Some(Turn::Yield);
                }
                State::Sending => {
                    blocks += 1;
                    match self.step() {
                        Ok(true) => Ok(()),
                        Ok(false) => return Some(Turn::Yield),
                        Err(error) => Err(error),
                    }
                }
                State::Draining(_) => return Some(Turn::Wait),
                State::Reading | State::Closing(_) | State::Redirecting(_) | State::Done => {
                    return None;
                }
            };
            if let Err(error) = result {
                inline::fail(self.py, self.domain, self.job, &error);
            }
        }
    }

    fn sent(&self) -> u64 {
        self.job.meter.borrow().sent()
    }

    fn call(&self) -> Result<(), Error> {
        let (py, job, r) = (self.py, self.job, self.request());
        let (gateway, conf) = (&self.domain.gateway, job.conf());
        let app = job.app().callable(py, self.domain.interpreter, self.renews())?;
        let environ = parts::environ(py, self.domain, self.exchange, r, conf)?;
        let protocol = conf.protocol.unwrap_or_default();
        let has_written = || job.output.borrow().is_head_sent() || self.has_spooled();
        self.exchange.call(py, gateway, &app, environ, protocol, has_written)?;
        // write() may have ended the response: HEAD, for example.
        if job.state.get() == State::Calling {
            let may_go_on = job.output.borrow().may_go_on();
            self.set(if may_go_on { State::Sending } else { State::Draining(Then::Send) });
        }
        Ok(())
    }

    /// Whether a changed file is to be read again. Where the worker is to be replaced instead, sees to it.
    fn renews(&self) -> bool {
        match self.job.conf().reloading() {
            None => false,
            Some(Mechanism::Process) if process::has_master() => {
                let app = self.job.app();
                if app.has_changed() {
                    self.job.is_stale.set(true);
                    if process::quit_gracefully() {
                        let file = app.file().unwrap_or_default();
                        let text = format!(
                            "wsgi: script {file:?} has changed, this worker quits gracefully to be replaced"
                        );
                        self.request().log().write(Level::Notice, text);
                    }
                }
                false
            }
            Some(_) => true,
        }
    }

    /// Takes one step. False if it gave nothing, so that others may go first.
    fn step(&self) -> Result<bool, Error> {
        if self.has_spooled() && !self.goes_out_as_a_whole() {
            if self.send_head(None)?
                && let Some(flow) = self.send_spool()
            {
                self.follow(flow, Then::Send);
            }
            return Ok(true);
        }
        let step = self.exchange.step(self.py)?;
        // write() inside the step may have ended the response: HEAD, or a client that has left.
        if self.job.state.get() != State::Sending {
            return Ok(true);
        }
        match step {
            Step::Empty => return self.empty(),
            Step::Block(_) if self.job.output.borrow().is_finished() => {
                self.warn_of_surplus();
                self.set(State::Closing(nginx::OK));
            }
            Step::Block(block) => self.send(vec![block], false)?,
            Step::All(blocks) => self.send(blocks, true)?,
            Step::Done if self.job.output.borrow().is_finished() => {
                self.set(State::Closing(nginx::OK));
            }
            Step::Done => self.send(Vec::new(), true)?,
            Step::File(file) => match regular_file_size(file.fd) {
                // The files of /proc say that they are empty; reading shows whether it is true.
                Some(size) if size > file.offset => {
                    self.exchange.file_taken(self.py, true)?;
                    self.send_file(file.fd, file.offset, size - file.offset)?;
                }
                _ => self.exchange.file_taken(self.py, false)?,
            },
        }
        Ok(true)
    }

    /// Whether what was written waits for the rest, so that the length of the whole is known.
    fn goes_out_as_a_whole(&self) -> bool {
        !self.job.output.borrow().is_head_sent() && self.exchange.is_sequence()
    }

    /// An empty item: sends the head with `wsgi_optimize_send_headers`, which may show that no body is due.
    fn empty(&self) -> Result<bool, Error> {
        let is_due = self.job.conf().optimize_send_headers.is_on()
            && self.exchange.waiting_head(self.py).is_some();
        if !is_due {
            return Ok(false);
        }
        if self.send_head(None)? {
            let flow = self.job.output.borrow_mut().send_nothing();
            if flow == Flow::Taken {
                return Ok(false);
            }
            self.follow(flow, Then::Send);
        }
        Ok(true)
    }

    /// Sends blocks. `is_all`: nothing follows.
    fn send(&self, blocks: Vec<PyBlock>, is_all: bool) -> Result<(), Error> {
        let offered = blocks.iter().map(|block| block.as_bytes().len() as u64).sum::<u64>();
        let whole =
            is_all.then(|| Body { length: self.sent() + offered, is_one: is_one_buffer(&blocks) });
        if !self.send_head(whole)? {
            return Ok(());
        }
        let admitted = self.job.meter.borrow_mut().admit(offered);
        let blocks = if admitted.cut { cut(blocks, admitted.length) } else { blocks };
        if admitted.cut {
            self.warn_of_surplus();
        }
        let shortage = self.job.meter.borrow().shortage().filter(|_| is_all);
        let is_complete = self.job.meter.borrow().is_complete();
        let last = (is_all || is_complete) && shortage.is_none();
        // What was written goes first. If nginx holds it back it holds the blocks back as well.
        self.send_spool();
        let flow = self.job.output.borrow_mut().send(blocks, last);
        self.after(flow, is_all || admitted.cut, shortage)
    }

    /// Sends a file; what exceeds a Content-Length is left out, as PEP 3333 says of files.
    fn send_file(&self, fd: i32, offset: u64, length: u64) -> Result<(), Error> {
        if !self.send_head(Some(Body { length, is_one: true }))? {
            return Ok(());
        }
        let admitted = self.job.meter.borrow_mut().admit(length);
        let shortage = self.job.meter.borrow().shortage();
        let last = shortage.is_none();
        let flow = self.job.output.borrow_mut().send_file(fd, offset, admitted.length, last);
        self.after(flow, true, shortage)
    }

    /// What follows when nginx has been given bytes.
    fn after(&self, flow: Flow, is_all: bool, shortage: Option<(u64, u64)>) -> Result<(), Error> {
        let rc = match shortage {
            Some((sent, declared)) => {
                let error = Error::Short { sent, declared };
                let (log, app) = (self.request().log(), self.job.app());
                report::failed(self.py, self.domain, log, Level::Error, app, &error, "");
                nginx::ERROR
            }
            None => nginx::OK,
        };
        self.follow(flow, if is_all { Then::Close(rc) } else { Then::Send });
        self.job.release();
        Ok(())
    }

    /// Sends the head if that has not been done. `whole`: what is known if this is the whole body. False if
    /// no body is to follow; the state says how to go on.
    pub(super) fn send_head(&self, whole: Option<Body>) -> Result<bool, Error> {
        if self.job.output.borrow().is_head_sent() {
            return Ok(true);
        }
        if self.job.spool.borrow().as_ref().is_some_and(Spool::has_failed) {
            return Err(Error::Nginx);
        }
        let head = self.exchange.commit_head(self.py).ok_or(Error::NoStartResponse)?;
        // An application may answer HEAD without making the body, so an empty one says nothing.
        let derived = whole.map(|body| body.length);
        let derived = derived.filter(|length| *length > 0 || !self.request().is_head());
        let content_length = head.content_length().or(derived.filter(|_| !head.forbids_body()));
        self.job.meter.borrow_mut().declare(content_length);
        let conf = self.job.conf();
        let ranges = match whole {
            _ if !conf.allow_ranges.is_on() => Ranges::No,
            Some(body)
                if body.is_one && !self.has_spooled() && content_length == Some(body.length) =>
            {
                Ranges::Multiple
            }
            _ => Ranges::Single,
        };
        let head = ResponseHead {
            status: head.status(),
            status_line: head.status_line(),
            fields: head.fields(),
            content_length,
            ranges,
            is_stale: self.job.is_stale.get(),
        };
        let flow = self.job.output.borrow_mut().send_head(head, &conf.rules);
        match flow {
            HeadFlow::Body => return Ok(true),
            HeadFlow::NoBody => self.set(State::Closing(nginx::OK)),
            HeadFlow::Ended(rc) => self.set(State::Closing(rc)),
            HeadFlow::Redirected(redirect) => self.set(State::Redirecting(redirect)),
        }
        Ok(false)
    }

    /// Whether the response is over, so that what is written goes nowhere.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.job.state.get(), State::Closing(_) | State::Redirecting(_))
    }

    fn warn_of_surplus(&self) {
        let declared = self.job.meter.borrow().declared().unwrap_or_default();
        let name = name(self.job.app());
        let text = format!(
            "wsgi: {name} yielded more than its Content-Length of {declared} bytes, the rest is dropped"
        );
        self.request().log().write(Level::Warn, text);
    }

    /// Sends what has been spooled, if there is anything.
    fn send_spool(&self) -> Option<Flow> {
        let mut spool = self.job.spool.borrow_mut();
        let spool = spool.as_mut().filter(|spool| !spool.is_empty())?;
        Some(self.job.output.borrow_mut().send_spool(spool))
    }

    /// Whether spooled bytes wait to be sent.
    pub(super) fn has_spooled(&self) -> bool {
        self.job.spool.borrow().as_ref().is_some_and(|spool| !spool.is_empty())
    }

    /// Sets what nginx's answer leads to.
    fn follow(&self, flow: Flow, then: Then) {
        self.set(match flow {
            Flow::Taken => then.into(),
            Flow::Again => State::Draining(then),
            Flow::Gone => State::Closing(nginx::ERROR),
        });
    }
}

/// The first `length` bytes of `blocks`.
fn cut(blocks: Vec<PyBlock>, length: u64) -> Vec<PyBlock> {
    let mut left = length as usize;
    let mut kept = Vec::with_capacity(blocks.len());
    for block in blocks {
        let block = block.truncated(left);
        left -= block.as_bytes().len();
        if !block.as_bytes().is_empty() {
            kept.push(block);
        }
    }
    kept
}
