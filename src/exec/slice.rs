//! A slice: one stay of a request inside Python, and the machine that it moves.
//!
//! Each step asks the application for something and gives it to nginx; nginx's answer decides the next
//! state (handler.rs). `write()` comes in from inside a step (writing.rs).

use pyo3::prelude::*;

use crate::conf::Mechanism;
use crate::error::Error;
use crate::handler::{Job, State, Then, Turn};
use crate::nginx::{self, Level, Request, process, regular_file_size};
use crate::py::PyBlock;
use crate::wsgi::{Exchange, Head, Step};

use super::inline::{self, Inline};
use super::sending::Body;
use super::{Domain, parts};

/// A generator that never blocks gives the loop back after so many blocks or bytes.
const BLOCKS_PER_TURN: usize = 64;
const BYTES_PER_TURN: u64 = 1 << 20;

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
        let begun = self.job.sent();
        loop {
            let result = match self.job.state.get() {
                State::Calling => self.call(),
                State::Sending if blocks >= BLOCKS_PER_TURN => return Some(Turn::Yield),
                State::Sending if self.job.sent() - begun >= BYTES_PER_TURN => {
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

    fn call(&self) -> Result<(), Error> {
        let (py, job, r) = (self.py, self.job, self.request());
        let (gateway, conf) = (&self.domain.gateway, job.conf());
        let app = job.app().callable(py, self.domain.interpreter, self.renews())?;
        let environ = parts::environ(py, self.domain, self.exchange, r, conf)?;
        let protocol = conf.protocol.unwrap_or_default();
        let has_written = || job.is_head_sent() || job.has_spooled();
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
        if self.job.has_spooled() && !self.goes_out_as_a_whole() {
            if self.send_head(None)?
                && let Some(flow) = self.job.send_spool()
            {
                self.job.follow(flow, Then::Send);
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
                self.job.warn_of_surplus();
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
                    let length = size - file.offset;
                    if self.send_head(Some(Body { length, is_one: true }))? {
                        self.job.send_file(file.fd, file.offset, length);
                    }
                }
                _ => self.exchange.file_taken(self.py, false)?,
            },
        }
        Ok(true)
    }

    /// Whether what was written waits for the rest, so that the length of the whole is known.
    fn goes_out_as_a_whole(&self) -> bool {
        !self.job.is_head_sent() && self.exchange.is_sequence()
    }

    /// An empty item: sends the head with `wsgi_optimize_send_headers`, which may show that no body is due.
    fn empty(&self) -> Result<bool, Error> {
        let is_due = self.job.conf().optimize_send_headers.is_on()
            && self.exchange.waiting_head(self.py, |_| ()).is_some();
        if !is_due {
            return Ok(false);
        }
        // Nothing has been given, unless that ends the response or has to be waited for.
        Ok(!(self.send_head(None)? && self.job.send_nothing()))
    }

    /// Sends blocks. `is_all`: nothing follows.
    fn send(&self, blocks: Vec<PyBlock>, is_all: bool) -> Result<(), Error> {
        let may_hold = !is_all && !self.job.is_head_sent();
        let holds = |head: &Head| self.job.holds(head, &blocks);
        if may_hold && self.exchange.waiting_head(self.py, holds) == Some(true) {
            self.job.hold(blocks);
            return Ok(());
        }
        if self.send_head(is_all.then(|| self.job.whole(&blocks)))? {
            self.job.send(blocks, is_all);
        }
        Ok(())
    }

    /// Sends the head if that has not been done. `whole`: what is known if this is the whole body. False if
    /// no body is to follow; the state says how to go on.
    pub(super) fn send_head(&self, whole: Option<Body>) -> Result<bool, Error> {
        if self.job.is_head_sent() {
            return Ok(true);
        }
        if self.job.has_lost_bytes() {
            return Err(Error::Nginx);
        }
        let head = self.exchange.commit_head(self.py).ok_or(Error::NoStartResponse)?;
        Ok(self.job.send_head(&head, whole))
    }
}
