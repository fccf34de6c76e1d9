//! `write()`, the callable that `start_response` returns: from inside a slice, and inside Python.
//!
//! The block goes to the client at once, or waits in a spool where the module may not wait for the client,
//! or is not to (`wsgi_write_buffering`).

use pyo3::exceptions::{PyConnectionResetError, PyOSError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;

use crate::block::Block;
use crate::conf::Service;
use crate::error::Error;
use crate::handler::{Job, State, Then};
use crate::nginx::{self, Flow, Spool, os_error_text};
use crate::py::PyBlock;
use crate::wsgi::{Draft, Head};

use super::sending::length;
use super::slice::commit;

/// What `write()` gives to nginx.
pub struct Written {
    begun: Begun,
    /// What was held, then the block itself.
    blocks: Vec<PyBlock>,
}

/// The head of a response that is written.
enum Begun {
    /// It has been sent.
    Already,
    /// It is to be sent.
    Now(Head),
    /// It waits, because the location buffers what is written; here is its Content-Length.
    Later(Option<u64>),
}

/// Why a block was not written.
pub enum Refused {
    ClientGone,
    TimedOut,
    /// It exceeds a Content-Length.
    Surplus(u64),
    /// The temporary file failed.
    Spool {
        code: i32,
        text: String,
        file: Option<String>,
    },
}

impl Written {
    /// What `write(block)` gives, and takes out of the draft.
    pub fn new(draft: &Draft, service: &Service, block: PyBlock) -> PyResult<Self> {
        let begun = if draft.is_committed() {
            Begun::Already
        } else if service.write_buffering {
            let length = draft.waiting(Head::content_length);
            Begun::Later(length.ok_or_else(no_start_response)?)
        } else {
            Begun::Now(commit(draft, service).ok_or_else(no_start_response)?)
        };
        draft.note_writing();
        Ok(Self { begun, blocks: draft.give(vec![block]) })
    }
}

fn no_start_response() -> PyErr {
    let error = Error::NoStartResponse;
    PyValueError::new_err(format!("write(): the application {error}"))
}

impl From<Refused> for PyErr {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::ClientGone => {
                PyConnectionResetError::new_err("the client has closed the connection")
            }
            Refused::TimedOut => PyTimeoutError::new_err("the client takes nothing (send_timeout)"),
            Refused::Surplus(declared) => {
                let text = format!("write() past the Content-Length of {declared} bytes");
                PyValueError::new_err(text)
            }
            Refused::Spool { code, text, file } => PyOSError::new_err((code, text, file)),
        }
    }
}

impl Job {
    /// Takes what was written: sends it, or spools it where the client is not to be waited for (`may_wait`:
    /// the one who writes can wait while nginx goes on). `Flow::Again`: to be waited for.
    pub fn write(&self, written: Written, may_wait: bool) -> Result<Flow, Refused> {
        let Written { begun, blocks } = written;
        if self.output.borrow().is_gone() {
            self.let_go(blocks);
            return Err(Refused::ClientGone);
        }
        if self.is_over() {
            self.let_go(blocks);
            return Ok(Flow::Taken);
        }
        let is_buffered = matches!(begun, Begun::Later(_));
        let has_body = match begun {
            Begun::Now(_) if self.has_lost_bytes() => {
                self.let_go(blocks);
                return Err(Refused::ClientGone);
            }
            Begun::Now(head) => self.send_head(&head, None),
            Begun::Later(length) => {
                self.meter.borrow_mut().declare(length);
                true
            }
            Begun::Already => true,
        };
        if !has_body {
            self.let_go(blocks);
            return Ok(Flow::Taken);
        }
        let admitted = self.meter.borrow_mut().admit(length(&blocks));
        let blocks = if admitted.cut { self.cut(blocks, admitted.length) } else { blocks };
        let mut flow = Flow::Taken;
        if !blocks.is_empty() {
            let r = self.request();
            let must_spool = !may_wait && (r.is_multiplexed() || !r.is_active());
            if is_buffered || must_spool || self.has_spooled() {
                let spooled = blocks.iter().try_for_each(|block| self.spool(block));
                self.let_go(blocks);
                spooled?;
            } else {
                flow = self.output.borrow_mut().send(blocks, false);
                self.release();
            }
        }
        if admitted.cut {
            let declared = self.meter.borrow().declared().unwrap_or_default();
            return Err(Refused::Surplus(declared));
        }
        match flow {
            Flow::Gone => Err(Refused::ClientGone),
            flow => Ok(flow),
        }
    }

    /// The bytes that were written are to be waited for.
    pub fn wait_for_written(&self) {
        self.follow(Flow::Again, Then::Send);
    }

    /// Another head replaces the one that waits: drops what was written under that.
    pub fn discard_written(&self) {
        if let Some(spool) = &mut *self.spool.borrow_mut() {
            spool.discard();
        }
        self.meter.take();
    }

    pub(super) fn spool(&self, block: &PyBlock) -> Result<(), Refused> {
        let (r, conf) = (self.request(), self.conf());
        // The body of HEAD is only counted.
        if r.is_head() {
            return Ok(());
        }
        let mut spool = self.spool.borrow_mut();
        // SAFETY: the spool is part of the job, which lives in the request's pool; a location with an
        // application has a path.
        let spool = spool.get_or_insert_with(|| unsafe {
            Box::new(Spool::new(r.as_ptr(), conf.temp_path, conf.write_buffer_size))
        });
        if self.output.borrow().is_drained() {
            spool.rewind();
        }
        spool.append(block.as_bytes()).map_err(|error| {
            // A response that lacks these bytes must not look complete, whatever the application does. If
            // its head waits, `take` refuses it, unless another head replaces it.
            if self.is_head_sent() {
                self.state.set(State::Closing(nginx::ERROR));
            }
            let code = error.raw_os_error().unwrap_or(libc::EIO);
            Refused::Spool { code, text: os_error_text(&error), file: spool.file_name() }
        })
    }
}
