//! A slice: one stay of a request inside Python, and the machine that it moves.
//!
//! Each step asks the application for something and gives it to nginx; nginx's answer decides the next
//! state (handler.rs). `write()` comes in here too, from inside a step.

use pyo3::exceptions::{PyConnectionResetError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;

use crate::block::Block;
use crate::error::Error;
use crate::handler::{Job, State, Then, Turn};
use crate::nginx::event::{self, Blocking};
use crate::nginx::{
    self, Code, Flow, HeadFlow, Level, Request, ResponseHead, Spool, regular_file_size,
};
use crate::py::PyBlock;
use crate::wsgi::{Exchange, Step};

use super::inline::{self, Inline};
use super::{Worker, name, parts, report};

/// A generator that never blocks gives the loop back after so many blocks or bytes.
const BLOCKS_PER_TURN: usize = 64;
const BYTES_PER_TURN: u64 = 1 << 20;

/// One stay of a request inside Python.
pub struct Slice<'a, 'py> {
    pub py: Python<'py>,
    pub worker: &'a Worker,
    pub job: &'a Job,
    pub exchange: &'a Exchange<Inline>,
}

impl Slice<'_, '_> {
    fn request(&self) -> Request<'_> {
        self.job.request()
    }

    fn set(&self, state: State) {
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
                State::Reading | State::Closing(_) | State::Done => return None,
            };
            if let Err(error) = result {
                inline::fail(self.py, self.worker, self.job, &error);
            }
        }
    }

    fn sent(&self) -> u64 {
        self.job.meter.borrow().sent()
    }

    fn call(&self) -> Result<(), Error> {
        let (py, job, r) = (self.py, self.job, self.request());
        let gateway = &self.worker.gateway;
        let app = job.app().callable(py, self.worker.package)?;
        let environ = parts::environ(py, gateway, self.exchange, r, job.conf())?;
        let has_written = || job.output.borrow().is_head_sent();
        self.exchange.call(py, gateway, &app, environ, has_written)?;
        // write() may have ended the response: HEAD, for example.
        if job.state.get() == State::Calling {
            let is_drained = job.output.borrow().is_drained();
            self.set(if is_drained { State::Sending } else { State::Draining(Then::Send) });
        }
        Ok(())
    }

    /// Takes one step. False if it gave nothing, so that others may go first.
    fn step(&self) -> Result<bool, Error> {
        if let Some(flow) = self.send_spool() {
            self.follow(flow, Then::Send);
            return Ok(true);
        }
        let step = self.exchange.step(self.py)?;
        // write() inside the step may have ended the response: HEAD, or a client that has left.
        if self.job.state.get() != State::Sending {
            return Ok(true);
        }
        match step {
            Step::Empty => return Ok(false),
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

    /// Sends blocks. `is_all`: nothing follows.
    fn send(&self, blocks: Vec<PyBlock>, is_all: bool) -> Result<(), Error> {
        let offered = blocks.iter().map(|block| block.as_bytes().len() as u64).sum();
        if !self.send_head(is_all.then_some(offered))? {
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
        if !self.send_head(Some(length))? {
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
                report::failed(self.py, self.worker, log, Level::Error, app, &error, "");
                nginx::ERROR
            }
            None => nginx::OK,
        };
        self.follow(flow, if is_all { Then::Close(rc) } else { Then::Send });
        self.job.release();
        Ok(())
    }

    /// Sends the head if that has not been done. `length`: that of the body, if it is known. False if no
    /// body is to follow; the state says how to go on.
    fn send_head(&self, length: Option<u64>) -> Result<bool, Error> {
        if self.job.output.borrow().is_head_sent() {
            return Ok(true);
        }
        let head = self.exchange.commit_head(self.py).ok_or(Error::NoStartResponse)?;
        // An application may answer HEAD without making the body, so an empty one says nothing.
        let derived = length.filter(|length| *length > 0 || !self.request().is_head());
        let content_length = head.content_length().or(derived.filter(|_| !head.forbids_body()));
        self.job.meter.borrow_mut().declare(content_length);
        let flow = self.job.output.borrow_mut().send_head(ResponseHead {
            status: head.status(),
            status_line: head.status_line(),
            fields: head.fields(),
            content_length,
        });
        match flow {
            HeadFlow::Body => Ok(true),
            HeadFlow::NoBody => self.end_without_body(nginx::OK),
            HeadFlow::Ended(rc) => self.end_without_body(rc),
        }
    }

    fn end_without_body(&self, rc: Code) -> Result<bool, Error> {
        self.set(State::Closing(rc));
        Ok(false)
    }

    fn warn_of_surplus(&self) {
        let declared = self.job.meter.borrow().declared().unwrap_or_default();
        let name = name(self.job.app());
        let text = format!(
            "wsgi: {name} yielded more than its Content-Length of {declared} bytes, the rest is dropped"
        );
        self.request().log().write(Level::Warn, text);
    }

    /// `write()`: the head, then the block, sent at once or spooled.
    pub fn write(&self, block: PyBlock) -> PyResult<()> {
        if self.job.output.borrow().is_gone() {
            return Err(PyConnectionResetError::new_err("the client has closed the connection"));
        }
        let has_body = self.send_head(None).map_err(|error| match error {
            Error::Raised(raised) => raised,
            error => PyValueError::new_err(format!("write(): the application {error}")),
        })?;
        // Closing: there is no body to this response, so what is written goes nowhere.
        if !has_body || matches!(self.job.state.get(), State::Closing(_)) {
            return Ok(());
        }
        let admitted = self.job.meter.borrow_mut().admit(block.as_bytes().len() as u64);
        if admitted.length > 0 {
            let block = block.truncated(admitted.length as usize);
            let r = self.request();
            if r.is_multiplexed() || !r.is_active() || self.has_spooled() {
                self.spool(&block)?;
            } else {
                self.write_through(block)?;
            }
        }
        if admitted.cut {
            let declared = self.job.meter.borrow().declared().unwrap_or_default();
            let text = format!("write() past the Content-Length of {declared} bytes");
            return Err(PyValueError::new_err(text));
        }
        Ok(())
    }

    /// Sends the block and waits until it is with the kernel. The event loop stands still meanwhile.
    fn write_through(&self, block: PyBlock) -> PyResult<()> {
        let r = self.request();
        let mut flow = self.job.output.borrow_mut().send(vec![block], false);
        if flow == Flow::Again && self.job.app().warn_of_writing() {
            r.log().write(
                Level::Warn,
                format!(
                    "wsgi: {} calls write(), which blocks the event loop while a client reads \
                     slowly; yield the blocks instead (said once)",
                    name(self.job.app())
                ),
            );
        }
        // nginx may hold the block for another reason than the socket, an SSI include for example; that is
        // not waited for here, but by the machine when the application has returned.
        let mut sent = None;
        while flow == Flow::Again && r.is_active() && sent.replace(r.sent()) != Some(r.sent()) {
            let wait = Blocking::new(r);
            if !self.py.detach(|| wait.wait()) {
                event::set_timed_out(r);
                self.job.output.borrow_mut().abandon();
                self.set(State::Closing(nginx::REQUEST_TIME_OUT));
                return Err(PyTimeoutError::new_err("the client takes nothing (send_timeout)"));
            }
            wait.done(r);
            flow = self.job.output.borrow_mut().flush();
        }
        self.job.release();
        match flow {
            Flow::Gone => {
                Err(PyConnectionResetError::new_err("the client has closed the connection"))
            }
            Flow::Taken | Flow::Again => Ok(()),
        }
    }

    fn spool(&self, block: &PyBlock) -> PyResult<()> {
        let (r, path) = (self.request(), self.job.conf().temp_path);
        let mut spool = self.job.spool.borrow_mut();
        // SAFETY: the spool is part of the job, which lives in the request's pool; a location with an
        // application has a path.
        let spool = spool.get_or_insert_with(|| unsafe { Spool::new(r.as_ptr(), path) });
        if self.job.output.borrow().is_drained() {
            spool.rewind();
        }
        Ok(spool.append(block.as_bytes())?)
    }

    /// Sends what has been spooled, if there is anything.
    fn send_spool(&self) -> Option<Flow> {
        let mut spool = self.job.spool.borrow_mut();
        let spool = spool.as_mut().filter(|spool| !spool.is_empty())?;
        Some(self.job.output.borrow_mut().send_spool(spool))
    }

    /// Whether spooled bytes wait to be sent.
    fn has_spooled(&self) -> bool {
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
