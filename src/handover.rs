//! The hand-over room: what passes between nginx's thread and those of a pool.
//!
//! Four places, each with one lock that is never held across anything slow: the queue of requests that wait
//! for a thread, the inbox of messages to nginx's thread, for each request the desk where a thread waits for
//! nginx's answer, and the pipe where it waits for a body that arrives. Nothing here knows of nginx or of
//! Python, so that `cargo test` covers the room, and loom tries its interleavings.

mod clock;
mod desk;
mod inbox;
mod pipe;
mod queue;
mod sync;

pub use clock::Clock;
pub use desk::Desk;
pub use inbox::Inbox;
pub use pipe::Pipe;
pub use queue::{Bed, Load, Queue};
pub use sync::lock;
