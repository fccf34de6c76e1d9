//! What an application has begun to answer and nginx has not been given yet: the head, and with
//! `wsgi_output_buffering` blocks that do not make a page.
//!
//! One per request, inside its responder. Until the head is committed another call of `start_response` with
//! `exc_info` may replace it, and with it the blocks.

use core::cell::{Cell, RefCell};

use crate::block::Block;
use crate::py::PyBlock;

use super::head::Head;

/// The response that has not been given to nginx.
#[derive(Default)]
pub struct Draft {
    head: RefCell<Option<Head>>,
    is_called: Cell<bool>,
    is_committed: Cell<bool>,
    declared: Cell<Option<u64>>,
    is_buffering: Cell<bool>,
    held: RefCell<Vec<PyBlock>>,
    held_length: Cell<u64>,
    given: Cell<u64>,
    has_written: Cell<bool>,
}

impl Draft {
    /// Whether `start_response` has been called.
    pub fn is_called(&self) -> bool {
        self.is_called.get()
    }

    /// Whether the head has been taken out, so that it cannot be replaced.
    pub fn is_committed(&self) -> bool {
        self.is_committed.get()
    }

    /// `start_response` is called; `None` until its arguments have turned out to be good.
    pub fn begin(&self, head: Option<Head>) {
        self.is_called.set(true);
        self.head.replace(head);
    }

    /// What `f` says of the head that waits to be sent, if there is one.
    pub fn waiting<R>(&self, f: impl FnOnce(&Head) -> R) -> Option<R> {
        self.head.borrow().as_ref().map(f)
    }

    /// Takes the head out to send it. From now on it cannot be replaced.
    pub fn commit(&self) -> Option<Head> {
        let head = self.head.take()?;
        self.is_committed.set(true);
        self.declared.set(head.content_length());
        Some(head)
    }

    /// Whether blocks may be held although the head has been taken out.
    pub fn is_buffering(&self) -> bool {
        self.is_buffering.get()
    }

    /// Decides that, when the head is taken out.
    pub fn set_buffering(&self, is_buffering: bool) {
        self.is_buffering.set(is_buffering);
    }

    /// Whether these blocks may be held: with those that are, they have less than `limit` bytes, and do not
    /// complete the body.
    pub fn has_room_for(&self, blocks: &[PyBlock], limit: u64) -> bool {
        let held = self.held_length.get() + length(blocks);
        let declared = self.waiting(Head::content_length).unwrap_or_else(|| self.declared.get());
        held < limit && declared.is_none_or(|declared| self.given.get() + held < declared)
    }

    /// Holds blocks, to be sent before others.
    pub fn hold(&self, blocks: Vec<PyBlock>) {
        self.held_length.set(self.held_length.get() + length(&blocks));
        self.held.borrow_mut().extend(blocks);
    }

    /// The blocks that are held, and these after them: they are given to nginx.
    #[must_use]
    pub fn give(&self, blocks: Vec<PyBlock>) -> Vec<PyBlock> {
        self.held_length.set(0);
        let mut all = self.held.take();
        if all.is_empty() {
            all = blocks;
        } else {
            all.extend(blocks);
        }
        self.given.set(self.given.get() + length(&all));
        all
    }

    /// How many bytes have been given to nginx.
    pub fn given(&self) -> u64 {
        self.given.get()
    }

    /// Forgets the response: another one is to begin.
    pub fn clear(&self) {
        // All of them, whatever is added.
        let Self {
            head,
            is_called,
            is_committed,
            declared,
            is_buffering,
            held,
            held_length,
            given,
            has_written,
        } = self;
        drop((head.take(), held.take()));
        is_called.set(false);
        is_committed.set(false);
        declared.set(None);
        is_buffering.set(false);
        held_length.set(0);
        given.set(0);
        has_written.set(false);
    }

    /// Another head is to replace the one that waits: drops what was to follow that.
    pub fn discard(&self) {
        self.given.set(0);
        self.held_length.set(0);
        self.has_written.set(false);
        drop(self.held.take());
    }

    /// Whether `write()` has been used, and what it left with nginx has not been looked after since.
    pub fn has_written(&self) -> bool {
        self.has_written.get()
    }

    /// Notes that it has been looked after.
    pub fn written_is_given(&self) {
        self.has_written.set(false);
    }

    /// Notes that `write()` is used.
    pub fn note_writing(&self) {
        self.has_written.set(true);
    }
}

fn length(blocks: &[PyBlock]) -> u64 {
    blocks.iter().map(|block| block.as_bytes().len() as u64).sum()
}
