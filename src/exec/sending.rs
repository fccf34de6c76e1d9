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

use super::line::{Given, Offer};
use super::name;
use super::report::Failure;

/// How many bytes of a response may wait in a spool, as many as `proxy_max_temp_file_size` has by default.
const SPOOL_UP_TO: u64 = 1 << 30;

/// What is copied at once of a large block that may have to be spooled, in bytes.
const PIECE: usize = 64 * 1024;

/// What is known of a body that is there as a whole.
#[derive(Clone, Copy)]
pub(super) struct Body {
    length: u64,
    /// Whether nginx gets it in one buffer.
    is_one: bool,
}

impl Job {
    /// Takes what the application gave. The state says how to go on.
    ///
    /// # Errors
    /// `Error::Nginx` if written bytes are missing and the client does not know yet.
    pub fn take(&self, offer: Offer) -> Result<(), Error> {
        let Offer { head, given } = offer;
        if self.is_over() {
            self.let_go(given.into_blocks());
            return Ok(());
        }
        if self.output.borrow().is_finished() {
            let blocks = given.into_blocks();
            if !blocks.is_empty() {
                self.warn_of_surplus();
            }
            self.let_go(blocks);
            self.state.set(State::Closing(nginx::OK));
            return Ok(());
        }
        if matches!(self.state.get(), State::Draining(_)) {
            self.take_ahead(given);
            return Ok(());
        }
        if let Some(head) = head {
            if self.has_lost_bytes() {
                self.let_go(given.into_blocks());
                // The head has been taken out of the draft: nothing may be sent any more, whatever the
                // application makes of the error.
                self.state.set(State::Closing(nginx::INTERNAL_SERVER_ERROR));
                return Err(Error::Nginx);
            }
            if !self.send_head(&head, self.whole(&given)) {
                self.let_go(given.into_blocks());
                return Ok(());
            }
        }
        match given {
            Given::Nothing => self.send_nothing(),
            Given::Written => self.send_written(),
            Given::Blocks(blocks) if self.goes_in_pieces(&blocks) => {
                self.send_in_pieces(&blocks);
                self.let_go(blocks);
            }
            Given::All(blocks) if self.goes_in_pieces(&blocks) => {
                self.send_in_pieces(&blocks);
                self.let_go(blocks);
                self.take_piece(Given::All(Vec::new()));
            }
            Given::Blocks(blocks) => self.send(blocks, false),
            Given::All(blocks) => self.send(blocks, true),
            Given::File { fd, offset, length } => self.send_file(fd, offset, length),
        }
        Ok(())
    }

    /// nginx has got rid of everything.
    pub fn drained(&self, then: Then) {
        self.state.set(then.into());
        match then {
            Then::Send
                if self.task.get().is_some() && self.is_head_sent() && self.has_spooled() =>
            {
                self.send_written();
            }
            Then::End => self.send(Vec::new(), true),
            Then::Send | Then::Close(_) => {}
        }
    }

    /// Whether a thread may go on although the client has not taken everything: the rest waits in a spool, with
    /// `wsgi_output_buffering`, and while the output waits for that of a subrequest, which may need the thread.
    pub fn may_go_ahead(&self) -> bool {
        let length = self.spool.borrow().as_ref().map_or(0, |spool| spool.length());
        let may_spool = self.output.borrow().is_buffering() || !self.request().is_active();
        may_spool && length < SPOOL_UP_TO
    }

    /// Whether so much is given by a thread that goes ahead of the client that most of it may have to be
    /// spooled.
    fn goes_in_pieces(&self, blocks: &[PyBlock]) -> bool {
        self.task.get().is_some()
            && self.output.borrow().is_buffering()
            && length(blocks) > PIECE as u64
    }

    /// Sends copies of `blocks`, piece by piece, as long as the client takes them; the rest is spooled.
    fn send_in_pieces(&self, blocks: &[PyBlock]) {
        for piece in blocks.iter().flat_map(|block| block.as_bytes().chunks(PIECE)) {
            if !self.is_over() {
                self.take_piece(Given::Blocks(vec![PyBlock::copy(piece)]));
            }
        }
    }

    fn take_piece(&self, given: Given) {
        match given {
            given if self.is_over() => self.let_go(given.into_blocks()),
            given if matches!(self.state.get(), State::Draining(_)) => self.take_ahead(given),
            Given::All(blocks) => self.send(blocks, true),
            given => self.send(given.into_blocks(), false),
        }
    }

    /// Takes what a thread gives ahead of the client.
    fn take_ahead(&self, given: Given) {
        let is_all = matches!(given, Given::All(_));
        let blocks = given.into_blocks();
        let admitted = self.meter.borrow_mut().admit(length(&blocks));
        let blocks = if admitted.cut { self.cut(blocks, admitted.length) } else { blocks };
        if admitted.cut {
            self.warn_of_surplus();
        }
        let is_spooled = blocks.iter().all(|block| self.spool(block).is_ok());
        self.let_go(blocks);
        if !is_spooled {
            self.state.set(State::Closing(nginx::ERROR));
        } else if is_all || admitted.cut || self.meter.borrow().is_complete() {
            self.state.set(State::Draining(Then::End));
        }
    }

    /// Logs what went wrong with the application and decides how the response ends.
    pub fn fail(&self, failure: &Failure) {
        let (is_gone, is_head_sent, is_finished) = {
            let output = self.output.borrow();
            (output.is_gone(), output.is_head_sent(), output.is_finished())
        };
        let rc = match self.state.get() {
            // The response has ended already, HEAD for example.
            State::Closing(rc) => rc,
            State::Redirecting(_) => nginx::INTERNAL_SERVER_ERROR,
            _ if is_gone => nginx::ERROR,
            _ if !is_head_sent && failure.is_timeout => nginx::GATEWAY_TIME_OUT,
            _ if !is_head_sent => nginx::INTERNAL_SERVER_ERROR,
            _ if is_finished => nginx::OK,
            _ => nginx::ERROR,
        };
        let is_cut = is_head_sent && !is_gone && rc == nginx::ERROR;
        let suffix =
            if is_cut { " after the headers were sent, the response is cut short" } else { "" };
        self.has_failed.set(self.has_failed.get() || !is_gone);
        // An application that fails because its client has left is no error of the application.
        let level = if is_gone || failure.is_timeout { Level::Info } else { Level::Error };
        let text = format!("{}{suffix}", failure.text);
        self.request().log().write_all(level, &text, &failure.traceback);
        self.state.set(State::Closing(rc));
    }

    /// Whether the head is with nginx.
    pub fn is_head_sent(&self) -> bool {
        self.output.borrow().is_head_sent()
    }

    /// Whether the response is over, so that what is given goes nowhere.
    pub fn is_over(&self) -> bool {
        matches!(self.state.get(), State::Closing(_) | State::Redirecting(_) | State::Done)
    }

    /// What is known of the body if nothing follows.
    fn whole(&self, given: &Given) -> Option<Body> {
        match given {
            Given::All(blocks) => {
                let length = self.meter.borrow().sent() + length(blocks);
                let is_one = is_one_buffer(blocks) && !self.goes_in_pieces(blocks);
                Some(Body { length, is_one })
            }
            Given::File { length, .. } => Some(Body { length: *length, is_one: true }),
            Given::Nothing | Given::Written | Given::Blocks(_) => None,
        }
    }

    /// Sends the head. `whole`: what is known if this is the whole body. False if no body is to follow; the
    /// state says how to go on.
    pub(super) fn send_head(&self, head: &Head, whole: Option<Body>) -> bool {
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
        if whole.is_some() && self.is_body_arriving() {
            // The application has all that it wanted to read; nginx cannot use the connection for more.
            self.request().end_keepalive();
        }
        let head = ResponseHead {
            status: head.status(),
            status_line: head.status_line(),
            fields: head.fields(),
            content_length,
            ranges,
            is_stale: self.is_stale.get(),
        };
        let flow = self.output.borrow_mut().send_head(head, &self.service().rules);
        match flow {
            HeadFlow::Body => return true,
            HeadFlow::NoBody => self.state.set(State::Closing(nginx::OK)),
            // An error page that is ours has the request now; our part of it is over.
            HeadFlow::Ended(_) if !self.has_request() => {
                self.state.set(State::Closing(nginx::DONE));
            }
            HeadFlow::Ended(rc) => self.state.set(State::Closing(rc)),
            HeadFlow::Redirected(redirect) => self.state.set(State::Redirecting(redirect)),
        }
        false
    }

    /// Sends blocks after the head. `is_all`: nothing follows.
    fn send(&self, blocks: Vec<PyBlock>, is_all: bool) {
        let admitted = self.meter.borrow_mut().admit(length(&blocks));
        let blocks = if admitted.cut { self.cut(blocks, admitted.length) } else { blocks };
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
    fn send_file(&self, fd: i32, offset: u64, length: u64) {
        let admitted = self.meter.borrow_mut().admit(length);
        let shortage = self.meter.borrow().shortage();
        let last = shortage.is_none();
        let flow = self.output.borrow_mut().send_file(fd, offset, admitted.length, last);
        self.after(flow, true, shortage);
    }

    /// Has nginx send the head although there is no block yet.
    pub(super) fn send_nothing(&self) {
        let flow = self.output.borrow_mut().send_nothing();
        self.follow(flow, Then::Send);
    }

    /// Sends what `write()` has left in a spool. What it has left with nginx is waited for.
    fn send_written(&self) {
        // A part of a page may have got its turn meanwhile; nobody would say so again.
        let flow = self.send_spool().unwrap_or_else(|| {
            let may_go_on = self.output.borrow().may_go_on();
            if may_go_on { Flow::Taken } else { self.output.borrow_mut().flush() }
        });
        self.follow(flow, Then::Send);
    }

    /// What follows when nginx has been given bytes.
    fn after(&self, flow: Flow, is_all: bool, shortage: Option<(u64, u64)>) {
        let rc = match shortage {
            Some((sent, declared)) => {
                let error = Error::Short { sent, declared };
                let text = format!("wsgi: {} {error}", name(&self.service().app));
                self.request().log().write(Level::Error, text);
                nginx::ERROR
            }
            None => nginx::OK,
        };
        self.follow(flow, if is_all { Then::Close(rc) } else { Then::Send });
        self.release();
    }

    fn warn_of_surplus(&self) {
        let declared = self.meter.borrow().declared().unwrap_or_default();
        let name = name(&self.service().app);
        let text = format!(
            "wsgi: {name} yielded more than its Content-Length of {declared} bytes, the rest is dropped"
        );
        self.request().log().write(Level::Warn, text);
    }

    /// Sends what has been spooled, if there is anything.
    fn send_spool(&self) -> Option<Flow> {
        let mut spool = self.spool.borrow_mut();
        let spool = spool.as_mut().filter(|spool| !spool.is_empty())?;
        Some(self.output.borrow_mut().send_spool(spool))
    }

    /// Whether spooled bytes wait to be sent.
    pub(super) fn has_spooled(&self) -> bool {
        self.spool.borrow().as_ref().is_some_and(|spool| !spool.is_empty())
    }

    /// Whether written bytes are missing.
    pub(super) fn has_lost_bytes(&self) -> bool {
        self.spool.borrow().as_ref().is_some_and(|spool| spool.has_failed())
    }

    /// Sets what nginx's answer leads to.
    pub(super) fn follow(&self, flow: Flow, then: Then) {
        self.state.set(match flow {
            Flow::Taken => then.into(),
            Flow::Again => State::Draining(then),
            Flow::Gone => State::Closing(nginx::ERROR),
        });
    }

    /// The first `length` bytes of `blocks`.
    pub(super) fn cut(&self, blocks: Vec<PyBlock>, length: u64) -> Vec<PyBlock> {
        let mut left = length as usize;
        let (mut kept, mut rest) = (Vec::with_capacity(blocks.len()), Vec::new());
        for block in blocks {
            let block = block.truncated(left);
            left -= block.as_bytes().len();
            if block.as_bytes().is_empty() { rest.push(block) } else { kept.push(block) }
        }
        self.let_go(rest);
        kept
    }
}

pub(super) fn length(blocks: &[PyBlock]) -> u64 {
    blocks.iter().map(|block| block.as_bytes().len() as u64).sum()
}
