//! What becomes of what an application gives: nginx's side of the machine, without Python.
//!
//! The head goes first, then blocks or a file, until the length is reached; nginx's answer decides the next
//! state (handler.rs). The executors call this on nginx's thread.

use crate::block::Block;
use crate::error::Error;
use crate::handler::{Job, State, Then};
use crate::nginx::{self, Flow, HeadFlow, Level, Ranges, ResponseHead, is_one_buffer};
use crate::py::PyBlock;
use crate::wsgi::Head;

use super::name;

/// What is known of a body that is there as a whole.
#[derive(Clone, Copy)]
pub struct Body {
    pub length: u64,
    /// Whether nginx gets it in one buffer.
    pub is_one: bool,
}

impl Job {
    /// How many bytes of the body have been admitted.
    pub fn sent(&self) -> u64 {
        self.meter.borrow().sent()
    }

    /// Whether the head is with nginx.
    pub fn is_head_sent(&self) -> bool {
        self.output.borrow().is_head_sent()
    }

    /// Whether the response is over, so that what is written goes nowhere.
    pub fn is_over(&self) -> bool {
        matches!(self.state.get(), State::Closing(_) | State::Redirecting(_))
    }

    /// What is known of the body if these blocks end it.
    pub fn whole(&self, blocks: &[PyBlock]) -> Body {
        let is_one = is_one_buffer(blocks) && !self.output.borrow().is_holding();
        Body { length: self.sent() + length(blocks), is_one }
    }

    /// Whether blocks, of a body that goes on, are to be held before the head goes out: then an error may
    /// still replace it.
    pub fn holds(&self, head: &Head, blocks: &[PyBlock]) -> bool {
        let (r, output, length) = (self.request(), self.output.borrow(), length(blocks));
        let (status, fields) = (head.status(), head.fields());
        output.has_room_for(length as usize)
            && head.content_length().is_none_or(|declared| self.sent() + length < declared)
            // Its application is not to go on.
            && !r.is_head()
            && self.conf().rules.may_hold(r, status, fields, output.is_buffering())
    }

    /// Holds them.
    pub fn hold(&self, blocks: Vec<PyBlock>) {
        self.meter.borrow_mut().admit(length(&blocks));
        self.output.borrow_mut().hold(blocks);
    }

    /// Sends the head, which has not been done. `whole`: what is known if this is the whole body. False if
    /// no body is to follow; the state says how to go on.
    pub fn send_head(&self, head: &Head, whole: Option<Body>) -> bool {
        // An application may answer HEAD without making the body, so an empty one says nothing.
        let derived = whole.map(|body| body.length);
        let derived = derived.filter(|length| *length > 0 || !self.request().is_head());
        let content_length = head.content_length().or(derived.filter(|_| !head.forbids_body()));
        self.meter.borrow_mut().declare(content_length);
        let conf = self.conf();
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
            is_stale: self.is_stale.get(),
        };
        let flow = self.output.borrow_mut().send_head(head, &conf.rules);
        match flow {
            HeadFlow::Body => return true,
            HeadFlow::NoBody => self.state.set(State::Closing(nginx::OK)),
            HeadFlow::Ended(rc) => self.state.set(State::Closing(rc)),
            HeadFlow::Redirected(redirect) => self.state.set(State::Redirecting(redirect)),
        }
        false
    }

    /// Sends blocks after the head. `is_all`: nothing follows.
    pub fn send(&self, blocks: Vec<PyBlock>, is_all: bool) {
        let admitted = self.meter.borrow_mut().admit(length(&blocks));
        let blocks = if admitted.cut { cut(blocks, admitted.length) } else { blocks };
        if admitted.cut {
            self.warn_of_surplus();
        }
        let shortage = self.meter.borrow().shortage().filter(|_| is_all);
        let is_complete = self.meter.borrow().is_complete();
        let last = (is_all || is_complete) && shortage.is_none();
        // What was written goes first. If nginx holds it back it holds the blocks back as well.
        self.send_spool();
        let flow = self.output.borrow_mut().send(blocks, last);
        self.after(flow, is_all || admitted.cut, shortage);
    }

    /// Sends a file after the head; what exceeds a Content-Length is left out, as PEP 3333 says of files.
    pub fn send_file(&self, fd: i32, offset: u64, length: u64) {
        let admitted = self.meter.borrow_mut().admit(length);
        let shortage = self.meter.borrow().shortage();
        let last = shortage.is_none();
        let flow = self.output.borrow_mut().send_file(fd, offset, admitted.length, last);
        self.after(flow, true, shortage);
    }

    /// Has nginx send the head although there is no block yet. True if it did.
    pub fn send_nothing(&self) -> bool {
        let flow = self.output.borrow_mut().send_nothing();
        if flow != Flow::Taken {
            self.follow(flow, Then::Send);
        }
        flow == Flow::Taken
    }

    /// What follows when nginx has been given bytes.
    fn after(&self, flow: Flow, is_all: bool, shortage: Option<(u64, u64)>) {
        let rc = match shortage {
            Some((sent, declared)) => {
                let error = Error::Short { sent, declared };
                let text = format!("wsgi: {} {error}", name(self.app()));
                self.request().log().write(Level::Error, text);
                nginx::ERROR
            }
            None => nginx::OK,
        };
        self.follow(flow, if is_all { Then::Close(rc) } else { Then::Send });
        self.release();
    }

    pub fn warn_of_surplus(&self) {
        let declared = self.meter.borrow().declared().unwrap_or_default();
        let name = name(self.app());
        let text = format!(
            "wsgi: {name} yielded more than its Content-Length of {declared} bytes, the rest is dropped"
        );
        self.request().log().write(Level::Warn, text);
    }

    /// Sends what has been spooled, if there is anything.
    pub fn send_spool(&self) -> Option<Flow> {
        let mut spool = self.spool.borrow_mut();
        let spool = spool.as_mut().filter(|spool| !spool.is_empty())?;
        Some(self.output.borrow_mut().send_spool(spool))
    }

    /// Whether spooled bytes wait to be sent.
    pub fn has_spooled(&self) -> bool {
        self.spool.borrow().as_ref().is_some_and(|spool| !spool.is_empty())
    }

    /// Whether written bytes are missing.
    pub fn has_lost_bytes(&self) -> bool {
        self.spool.borrow().as_ref().is_some_and(|spool| spool.has_failed())
    }

    /// Sets what nginx's answer leads to.
    pub fn follow(&self, flow: Flow, then: Then) {
        self.state.set(match flow {
            Flow::Taken => then.into(),
            Flow::Again => State::Draining(then),
            Flow::Gone => State::Closing(nginx::ERROR),
        });
    }
}

fn length(blocks: &[PyBlock]) -> u64 {
    blocks.iter().map(|block| block.as_bytes().len() as u64).sum()
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
