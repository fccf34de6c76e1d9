//! The body of a request that runs in a thread: there as a whole, or still on its way
//! (`wsgi_request_buffering off`).
//!
//! A thread that reads what has not come waits at the pipe of its task. nginx's thread puts in what it has
//! when the thread asks, and more when the client sends more.

use std::io::{self, BufRead, ErrorKind, Read};
use std::sync::Arc;

use pyo3::Python;

use crate::handler::{Job, State, Then};
use crate::handover::Pipe;
use crate::nginx::{self, Code, OwnedBody, upload};
use crate::wsgi::Body;

use super::task::{Message, Task};
use super::{bin, inbox};

/// A thread asks for at most so many bytes at once.
const AT_ONCE: usize = 256 * 1024;

/// Who asks for a line is given as much as this, if it is there.
const LINES: usize = 16 * 1024;

/// Where the body comes over.
pub type BodyPipe = Pipe<End>;

/// Why nothing follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Complete,
    /// The request has ended, because the client has left for example.
    Gone,
    /// `client_body_timeout`.
    TimedOut,
    /// `client_max_body_size`.
    TooLarge,
    /// The body is malformed, or nginx cannot read it.
    Broken,
}

impl End {
    fn of_code(rc: Code) -> Self {
        match rc {
            nginx::CLIENT_CLOSED_REQUEST => Self::Gone,
            nginx::REQUEST_TIME_OUT => Self::TimedOut,
            nginx::REQUEST_ENTITY_TOO_LARGE => Self::TooLarge,
            _ => Self::Broken,
        }
    }

    /// What reading raises: ConnectionResetError, TimeoutError, ConnectionAbortedError.
    fn error(self) -> Option<io::Error> {
        let (kind, text) = match self {
            Self::Complete => return None,
            Self::Gone => (ErrorKind::ConnectionReset, "the client has closed the connection"),
            Self::TimedOut => {
                (ErrorKind::TimedOut, "the client sends nothing (client_body_timeout)")
            }
            Self::TooLarge => {
                (ErrorKind::ConnectionAborted, "the body is too large (client_max_body_size)")
            }
            Self::Broken => (ErrorKind::ConnectionAborted, "the client has sent a malformed body"),
        };
        Some(io::Error::new(kind, text))
    }
}

impl Job {
    /// Has nginx read the body that still arrives, and gives a thread that waits what it asked for. False if
    /// that was the end of the request.
    pub fn receive_body(&self) -> bool {
        let Some(pipe) = self.task.get().and_then(|task| task.pipe.as_ref()) else { return true };
        if !self.wants_body() {
            // The response is over; whoever still reads is not to wait for what nginx throws away.
            pipe.end(End::Gone);
            return true;
        }
        match self.pump(pipe) {
            Ok(()) => true,
            Err(rc) => {
                pipe.end(End::of_code(rc));
                match rc {
                    // There is nobody to answer: it ends as for any client that leaves.
                    nginx::CLIENT_CLOSED_REQUEST | nginx::REQUEST_TIME_OUT => {
                        self.request().finalize(rc);
                    }
                    _ if self.is_head_sent() => self.request().finalize(nginx::ERROR),
                    _ => self.finish(rc),
                }
                false
            }
        }
    }

    /// The client has sent more of the body, or has left, or was too slow.
    pub fn body_event(&self) {
        let r = self.request();
        let is_arriving = self.is_body_arriving();
        if !is_arriving || !self.wants_body() || upload::has_client_left(r) {
            upload::watch_client(r);
        } else if self.receive_body() && !self.is_body_arriving() {
            // It is complete, and the client may have left after it.
            upload::watch_client(r);
        }
    }

    /// Whether nginx still reads the body.
    pub fn is_body_arriving(&self) -> bool {
        self.upload.borrow().as_ref().is_some_and(|upload| !upload.is_complete())
    }

    /// Whether the application may still ask for the body.
    fn wants_body(&self) -> bool {
        matches!(self.state.get(), State::Sending | State::Draining(Then::Send))
    }

    fn pump(&self, pipe: &BodyPipe) -> Result<(), Code> {
        let r = self.request();
        let mut upload = self.upload.borrow_mut();
        let Some(upload) = upload.as_mut() else { return Ok(()) };
        // Once more after each part that was taken: there is room for the next then.
        loop {
            upload.fetch(r)?;
            if !pipe.give(|bytes, most| upload.give(r, most, bytes)) {
                break;
            }
        }
        if upload.is_used_up() {
            pipe.end(End::Complete);
        }
        Ok(())
    }
}

/// The body of a request that runs in a thread.
pub enum TaskBody {
    Whole(OwnedBody),
    Arriving(Arriving),
}

/// A body on its way.
pub struct Arriving {
    task: Arc<Task>,
    /// What has come and has not been read.
    ahead: Vec<u8>,
    taken: usize,
}

impl TaskBody {
    /// The body of `task`, `whole` if it is one that nginx has read.
    pub fn new(task: &Arc<Task>, whole: Option<OwnedBody>) -> Option<Self> {
        if task.pipe.is_none() {
            return whole.map(Self::Whole);
        }
        Some(Self::Arriving(Arriving { task: Arc::clone(task), ahead: Vec::new(), taken: 0 }))
    }
}

impl Arriving {
    fn ahead(&self) -> &[u8] {
        &self.ahead[self.taken..]
    }

    fn wait(&mut self, py: Python<'_>, wanted: usize) -> io::Result<()> {
        let Some(pipe) = self.task.pipe.as_ref().filter(|_| self.ahead().is_empty()) else {
            return Ok(());
        };
        self.ahead.clear();
        self.taken = 0;
        // A line may be short: what comes with it is for the next ones.
        let wanted = wanted.clamp(1, AT_ONCE);
        let most = if wanted == 1 { LINES } else { wanted };
        let (task, ahead) = (&self.task, &mut self.ahead);
        let call = || {
            let receive = Box::new(|job: &Job| {
                job.receive_body();
            });
            inbox::send(Message::Tell(Arc::clone(task), receive));
        };
        let end = task.runner.pause(|| py.detach(|| pipe.take(wanted, most, ahead, call)));
        bin::empty(py);
        // What came before the end is read first.
        match end.and_then(End::error) {
            Some(error) if self.ahead.is_empty() => Err(error),
            _ => Ok(()),
        }
    }
}

impl Body for TaskBody {
    fn remaining(&self) -> Option<u64> {
        match self {
            Self::Whole(body) => Some(body.remaining()),
            Self::Arriving(_) => None,
        }
    }

    fn at_hand(&mut self) -> &[u8] {
        match self {
            Self::Whole(body) => body.at_hand(),
            Self::Arriving(body) => body.ahead(),
        }
    }

    fn wait(&mut self, py: Python<'_>, wanted: usize) -> io::Result<()> {
        match self {
            Self::Whole(_) => Ok(()),
            Self::Arriving(body) => body.wait(py, wanted),
        }
    }
}

impl Read for TaskBody {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Whole(body) => body.read(into),
            Self::Arriving(body) => {
                let amount = body.ahead().read(into)?;
                body.taken += amount;
                Ok(amount)
            }
        }
    }
}

impl BufRead for TaskBody {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Whole(body) => body.fill_buf(),
            Self::Arriving(body) => Ok(body.ahead()),
        }
    }

    fn consume(&mut self, amount: usize) {
        match self {
            Self::Whole(body) => body.consume(amount),
            Self::Arriving(body) => body.taken += amount,
        }
    }
}
