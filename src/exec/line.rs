//! How a slice reaches its request: directly on nginx's thread, or over to it.

use pyo3::Python;

use crate::error::Error;
use crate::handler::{Job, State, Turn};
use crate::py::PyBlock;
use crate::wsgi::{Head, Host};

use super::report::Failure;

/// What an application gives in one step.
pub struct Offer {
    /// Before the first of them.
    pub head: Option<Head>,
    pub given: Given,
}

/// The body's part of an offer.
pub enum Given {
    /// Nothing yet; the head is to go out (`wsgi_optimize_send_headers`).
    Nothing,
    /// What was written with `write()` before it, and may wait in a spool.
    Written,
    /// Blocks of a body that goes on.
    Blocks(Vec<PyBlock>),
    /// The blocks that end the body.
    All(Vec<PyBlock>),
    /// The rest of a file, which ends the body.
    File { fd: i32, offset: u64, length: u64 },
}

impl Given {
    /// The blocks, to be let go.
    pub fn into_blocks(self) -> Vec<PyBlock> {
        match self {
            Self::Blocks(blocks) | Self::All(blocks) => blocks,
            Self::Nothing | Self::Written | Self::File { .. } => Vec::new(),
        }
    }
}

/// A slice's way to its request.
pub trait Line {
    /// The gateway's types of the executor.
    type Host: Host;

    /// Where the request stands.
    fn state(&self) -> State;

    /// Moves it.
    fn set(&self, state: State);

    /// Whether the client wants the head only.
    fn is_head(&self) -> bool;

    /// The application has been imported and is called now.
    fn begin(&self, py: Python<'_>);

    /// The application has yielded an empty item.
    fn note_empty(&self) {}

    /// What the request waits for before its application is asked for more, other than the client.
    fn pause(&self, _py: Python<'_>) -> Option<Turn> {
        None
    }

    /// Gives nginx what the application gave; the state says how to go on.
    fn give(&self, py: Python<'_>, offer: Offer) -> Result<(), Error>;

    /// Logs what went wrong with the application and has nginx end the response.
    fn fail(&self, failure: Failure);

    /// Has nginx's thread do something with the request, unless it has ended by then.
    fn tell(&self, f: impl FnOnce(&Job) + Send + 'static);
}
