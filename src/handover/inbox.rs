//! Messages from the threads to nginx's thread. Whoever puts one in rings the bell, which rings once however
//! many messages there are.

use super::sync::{Mutex, lock};

/// An inbox.
pub struct Inbox<M>(Mutex<Vec<M>>);

impl<M> Inbox<M> {
    /// An empty inbox.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Adds a message.
    pub fn push(&self, message: M) {
        lock(&self.0).push(message);
    }

    /// Empties it into `messages`, which is empty.
    pub fn empty_into(&self, messages: &mut Vec<M>) {
        core::mem::swap(&mut *lock(&self.0), messages);
    }
}
