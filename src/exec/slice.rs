//! A slice: one stay of a request inside Python, and the machine that it moves.
//!
//! Each step asks the application for something and gives it to nginx; nginx's answer decides the next
//! state (handler.rs). `write()` comes in from inside a step (writing.rs). Who runs the slice, nginx's thread
//! or one of a pool, is a matter of its line.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::conf::{Mechanism, Service};
use crate::error::Error;
use crate::handler::{State, Turn};
use crate::nginx::{pool, process, regular_file_size};
use crate::py::PyBlock;
use crate::workers::{self, Reason};
use crate::wsgi::{Draft, Environ, Exchange, Gateway, Head, Step};

use super::line::{Given, Line, Offer};
use super::{Domain, report};

/// A generator that never blocks gives the loop back after so many blocks or bytes.
const BLOCKS_PER_TURN: usize = 64;
const BYTES_PER_TURN: u64 = 1 << 20;

/// One stay of a request inside Python.
pub struct Slice<'a, 'py, L: Line> {
    pub py: Python<'py>,
    pub domain: &'a Domain,
    pub gateway: &'a Gateway<L::Host>,
    pub service: &'a Service,
    pub exchange: &'a Exchange<L::Host>,
    pub line: &'a L,
}

impl<'py, L: Line> Slice<'_, 'py, L> {
    /// Steps until the request has to wait, or `None` when it is to be closed. `environ` makes the first
    /// argument of the application.
    pub fn run(
        &self,
        environ: impl FnOnce(&Environ) -> Result<Bound<'py, PyDict>, Error>,
    ) -> Option<Turn> {
        let mut environ = Some(environ);
        let mut blocks = 0;
        let begun = self.given();
        loop {
            let result = match self.line.state() {
                State::Calling => match environ.take() {
                    Some(environ) => self.call(environ),
                    None => return None,
                },
                State::Sending if blocks >= BLOCKS_PER_TURN => return Some(Turn::Yield),
                State::Sending if self.given().saturating_sub(begun) >= BYTES_PER_TURN => {
                    return Some(Turn::Yield);
                }
                State::Sending => {
                    if let Some(turn) = self.line.pause(self.py) {
                        return Some(turn);
                    }
                    blocks += 1;
                    match self.step() {
                        Ok(true) => Ok(()),
                        Ok(false) => {
                            return Some(self.line.pause(self.py).unwrap_or(Turn::Yield));
                        }
                        Err(error) => Err(error),
                    }
                }
                State::Draining(_) => return Some(Turn::Wait),
                State::Reading
                | State::Suspended
                | State::Closing(_)
                | State::Redirecting(_)
                | State::Done => return None,
            };
            if let Err(error) = result {
                self.fail(&error);
            }
        }
    }

    /// Logs what went wrong and has nginx end the response.
    pub fn fail(&self, error: &Error) {
        self.line.fail(report::describe(self.py, self.domain, &self.service.app, error));
    }

    fn given(&self) -> u64 {
        self.exchange.draft(self.py, Draft::given)
    }

    fn call(
        &self,
        environ: impl FnOnce(&Environ) -> Result<Bound<'py, PyDict>, Error>,
    ) -> Result<(), Error> {
        let (py, service) = (self.py, self.service);
        let app = service.app.callable(py, self.domain.interpreter, self.renews())?;
        // While it was imported the client may have left.
        if self.line.state() != State::Calling {
            return Ok(());
        }
        self.line.begin(py);
        let environ = environ(service.template(py, self.gateway, self.domain.interpreter)?)?;
        self.exchange.call(py, self.gateway, &app, environ, service.protocol)?;
        // write() may have ended the response: HEAD, for example.
        if self.line.state() == State::Calling {
            self.line.set(State::Sending);
        }
        Ok(())
    }

    /// Whether a changed file is to be read again. Where the worker is to be replaced instead, sees to it.
    fn renews(&self) -> bool {
        match self.service.reloading {
            None => false,
            Some(Mechanism::Process) if process::has_master() => {
                let app = &self.service.app;
                if app.has_changed(self.py) {
                    let file = app.file(self.py).unwrap_or_default();
                    self.line.tell(move |job| {
                        job.is_stale.set(true);
                        workers::replace(Reason::Changed(file));
                    });
                }
                false
            }
            Some(_) => true,
        }
    }

    /// Takes one step. False if it gave nothing, so that others may go first.
    fn step(&self) -> Result<bool, Error> {
        if self.exchange.draft(self.py, Draft::has_written) && !self.goes_out_as_a_whole() {
            self.exchange.draft(self.py, Draft::written_is_given);
            self.give(Given::Written)?;
            return Ok(true);
        }
        let step = self.exchange.step(self.py)?;
        // write() inside the step may have ended the response: HEAD, or a client that has left.
        if self.line.state() != State::Sending {
            return Ok(true);
        }
        match step {
            Step::Empty => {
                self.line.note_empty();
                return self.empty();
            }
            Step::Block(block) => self.block(block)?,
            Step::All(blocks) => self.give_blocks(blocks, Given::All)?,
            Step::Done => self.give_blocks(Vec::new(), Given::All)?,
            Step::File(file) => match regular_file_size(file.fd) {
                // The files of /proc say that they are empty; reading shows whether it is true.
                Some(size) if size > file.offset => {
                    self.exchange.file_taken(self.py, true)?;
                    let (fd, offset) = (file.fd, file.offset);
                    self.give(Given::File { fd, offset, length: size - offset })?;
                }
                _ => self.exchange.file_taken(self.py, false)?,
            },
        }
        Ok(true)
    }

    /// Whether what was written waits for the rest, so that the length of the whole is known.
    fn goes_out_as_a_whole(&self) -> bool {
        !self.exchange.draft(self.py, Draft::is_committed) && self.exchange.is_sequence()
    }

    /// An empty item: sends the head with `wsgi_optimize_send_headers`, which may show that no body is due.
    fn empty(&self) -> Result<bool, Error> {
        let is_waiting = |draft: &Draft| draft.waiting(|_| ()).is_some();
        if !self.service.optimize_send_headers || !self.exchange.draft(self.py, is_waiting) {
            return Ok(false);
        }
        self.give(Given::Nothing)?;
        // Nothing has been given, unless that ends the response or has to be waited for.
        Ok(self.line.state() != State::Sending)
    }

    /// A block of a body that goes on: holds it or gives it.
    fn block(&self, block: PyBlock) -> Result<(), Error> {
        let blocks = vec![block];
        if self.holds(&blocks) {
            self.exchange.draft(self.py, |draft| draft.hold(blocks));
            return Ok(());
        }
        self.give_blocks(blocks, Given::Blocks)
    }

    /// Whether blocks are to be held until there is a page of them. Before the head is out an error may still
    /// replace it then.
    fn holds(&self, blocks: &[PyBlock]) -> bool {
        // The application is not to go on when the client wants the head only.
        if self.line.is_head() {
            return false;
        }
        let rules = &self.service.rules;
        self.exchange.draft(self.py, |draft| {
            let may_hold = |head: &Head| {
                rules.may_hold(head.status(), head.fields(), self.service.output_buffering)
            };
            draft.waiting(may_hold).unwrap_or_else(|| draft.is_buffering())
                && draft.has_room_for(blocks, pool::page_size() as u64)
        })
    }

    fn give_blocks(
        &self,
        blocks: Vec<PyBlock>,
        given: impl FnOnce(Vec<PyBlock>) -> Given,
    ) -> Result<(), Error> {
        let blocks = self.exchange.draft(self.py, |draft| draft.give(blocks));
        self.give(given(blocks))
    }

    /// Gives nginx something, after the head.
    fn give(&self, given: Given) -> Result<(), Error> {
        let head = self.exchange.draft(self.py, |draft| {
            if draft.is_committed() {
                return Ok(None);
            }
            // Where nothing follows nothing will be held.
            let head = match given {
                Given::All(_) => draft.commit(),
                _ => commit(draft, self.service),
            };
            head.map(Some).ok_or_else(|| Error::NoStartResponse)
        })?;
        self.line.give(self.py, Offer { head, given })
    }
}

/// Takes the head out of the draft, if there is one, and decides whether what follows may be held.
pub fn commit(draft: &Draft, service: &Service) -> Option<Head> {
    let head = draft.commit()?;
    draft.set_buffering(service.rules.buffers(head.fields(), service.output_buffering));
    Some(head)
}
