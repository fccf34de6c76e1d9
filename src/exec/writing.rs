//! `write()`, the callable that `start_response` returns: from inside a slice, and inside Python.
//!
//! The block goes to the client at once, or waits in a spool where the module may not wait for the client,
//! or is not to (`wsgi_write_buffering`).

use pyo3::exceptions::{PyConnectionResetError, PyOSError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;

use crate::block::Block;
use crate::error::Error;
use crate::handler::State;
use crate::nginx::event::{self, Blocking};
use crate::nginx::{self, Flow, Level, Spool, os_error_text};
use crate::py::PyBlock;
use crate::wsgi::Head;

use super::name;
use super::slice::Slice;

impl Slice<'_, '_> {
    /// `write()`: the head, then the block, sent at once or spooled.
    pub fn write(&self, block: PyBlock) -> PyResult<()> {
        if self.job.output.borrow().is_gone() {
            return Err(PyConnectionResetError::new_err("the client has closed the connection"));
        }
        if self.job.is_over() {
            return Ok(());
        }
        let is_buffered = self.begin_writing().map_err(|error| match error {
            Error::Raised(raised) => raised,
            error => PyValueError::new_err(format!("write(): the application {error}")),
        })?;
        if self.job.is_over() {
            return Ok(());
        }
        let admitted = self.job.meter.borrow_mut().admit(block.as_bytes().len() as u64);
        if admitted.length > 0 {
            let block = block.truncated(admitted.length as usize);
            let r = self.request();
            if is_buffered || r.is_multiplexed() || !r.is_active() || self.job.has_spooled() {
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

    /// Sends the head, unless the location buffers what is written: then that is true, and only the
    /// Content-Length is noted.
    fn begin_writing(&self) -> Result<bool, Error> {
        let is_head_sent = self.job.is_head_sent();
        if is_head_sent || !self.job.conf().write_buffering.is_on() {
            return self.send_head(None).map(|_| false);
        }
        let length = self
            .exchange
            .waiting_head(self.py, Head::content_length)
            .ok_or(Error::NoStartResponse)?;
        self.job.meter.borrow_mut().declare(length);
        Ok(true)
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
        let (r, conf) = (self.request(), self.job.conf());
        // The body of HEAD is only counted.
        if r.is_head() {
            return Ok(());
        }
        let mut spool = self.job.spool.borrow_mut();
        // SAFETY: the spool is part of the job, which lives in the request's pool; a location with an
        // application has a path.
        let spool = spool.get_or_insert_with(|| unsafe {
            Box::new(Spool::new(r.as_ptr(), conf.temp_path, conf.write_buffer_size))
        });
        if self.job.output.borrow().is_drained() {
            spool.rewind();
        }
        spool.append(block.as_bytes()).map_err(|error| {
            // A response that lacks these bytes must not look complete, whatever the application does. If
            // its head waits, `send_head` refuses it, unless another head replaces it.
            if self.job.is_head_sent() {
                self.set(State::Closing(nginx::ERROR));
            }
            let code = error.raw_os_error().unwrap_or(libc::EIO);
            PyOSError::new_err((code, os_error_text(&error), spool.file_name()))
        })
    }
}
