//! What Python may hold of a request: a handle, emptied when the request ends.

use core::cell::Cell;
use core::ptr::NonNull;

/// A revocable reference to a value that outlives Python's interest only by chance.
///
/// It answers in the thread that made it; in any other thread it is as good as empty, because what it
/// leads to belongs to that one thread.
pub struct Handle<T> {
    target: Cell<Option<NonNull<T>>>,
    thread: usize,
}

// SAFETY: the pointer is followed in the thread that made it only; the cell is read and written by
// whoever holds the GIL, one at a time.
unsafe impl<T> Send for Handle<T> {}

impl<T> Handle<T> {
    /// A handle to `target`.
    ///
    /// # Safety
    /// `target` must stay where it is, valid, until `revoke` has been called.
    pub unsafe fn new(target: &T) -> Self {
        Self { target: Cell::new(Some(NonNull::from(target))), thread: this_thread() }
    }

    /// Empties the handle.
    pub fn revoke(&self) {
        self.target.set(None);
    }

    /// The target, unless the handle was revoked or this is another thread.
    pub fn get(&self) -> Option<&T> {
        let target = self.target.get().filter(|_| this_thread() == self.thread)?;
        // SAFETY: by the contract of `new`, since the handle has not been revoked; only this thread
        // revokes and follows it.
        Some(unsafe { target.as_ref() })
    }
}

/// Tells threads apart: the address of something that each has for itself.
fn this_thread() -> usize {
    thread_local! {
        static OWN: u8 = const { 0 };
    }
    OWN.with(|own| core::ptr::from_ref(own).addr())
}
