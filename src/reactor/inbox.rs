//! What other threads have for the reactor, and the bell that calls nginx's thread to it.

use std::sync::OnceLock;

use crate::handover::Inbox;
use crate::nginx::{Bell, Level, log};

use super::turn::Posted;
use super::{Reactor, ticket};

/// What a thread wants.
pub enum Message {
    /// A function is to be called.
    Post(Posted),
    /// The request that waits with this ticket is to go on.
    Resume(u64),
}

static INBOX: Inbox<Message> = Inbox::new();
static BELL: OnceLock<Bell> = OnceLock::new();

/// Hangs the bell up in this worker. What fails has been logged; then threads reach nobody.
pub fn open() {
    match Bell::new() {
        Ok(bell) if bell.hang(empty).is_ok() => drop(BELL.set(bell)),
        Ok(_) => {}
        Err(error) => {
            let text = format!("wsgi: cannot make an eventfd: {error}");
            log::write_line(Level::Error, text.as_bytes());
        }
    }
}

/// Sends a message to nginx's thread. False if nobody will read it.
pub fn send(message: Message) -> bool {
    let Some(bell) = BELL.get() else { return false };
    INBOX.push(message);
    bell.ring();
    true
}

/// On nginx's thread: reads what has been sent.
fn empty() {
    let mut messages = Vec::new();
    INBOX.empty_into(&mut messages);
    for message in messages {
        match message {
            Message::Post(callback) => {
                Reactor::try_with(|reactor| reactor.post_now(callback));
            }
            Message::Resume(key) => ticket::resumed(key),
        }
    }
}
