//! The gateway room: PEP 3333 between Rust and Python.
//!
//! Nothing here knows of nginx; what the gateway needs of its host is the trait [`Host`]. There is no
//! unsafe code either, so that `cargo test` covers the room.
#![forbid(unsafe_code)]

mod app;
mod app_iter;
mod draft;
mod environ;
mod errors;
mod exchange;
mod file_wrapper;
mod head;
mod input;
mod keys;
mod lent;
mod memo;
mod meter;
mod mount;
mod refill;
mod snapshot;
mod start_response;
mod target;
mod template;
#[cfg(test)]
mod tests;

pub use app::{App, AppKey};
pub use app_iter::Step;
pub use draft::Draft;
pub use environ::{Constants, Environ, Parts};
pub use errors::LineLog;
pub use exchange::{Exchange, Gateway, Protocol};
pub use head::Head;
pub use input::Body;
pub use meter::Meter;
pub use mount::Mount;
pub use snapshot::Snapshot;
pub use start_response::Writer;
pub use target::{Naming, Source, Target};

/// What the gateway stands on, one set of types for each executor.
pub trait Host: Sized + 'static {
    /// Takes what an application writes with `write()`.
    type Writer: Writer + Send;
    /// Takes the lines of `wsgi.errors`.
    type Log: LineLog + Send;
    /// Gives the bytes of the request's body.
    type Body: Body + Send;

    /// Whether an application runs while nginx goes on, so that there is news for it.
    const HAS_THREADS: bool = false;
}
