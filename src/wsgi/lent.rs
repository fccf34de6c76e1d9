//! The objects that every request lends to Python: `start_response` with the `write` that it returns, and
//! `wsgi.errors`.
//!
//! Applications seldom keep them. Those that nobody has kept are lent again, which is cheaper than to make
//! them anew for each request.

use pyo3::prelude::*;

use crate::py::{Guarded, Kept, is_referred_to};

use super::Host;
use super::errors::Errors;
use super::exchange::Gateway;
use super::start_response::{Responder, StartResponse};

/// How many sets wait to be lent again, for so many requests at a time.
const MOST: usize = 8;

/// The objects of one request. To be dropped while attached.
pub struct Lent<H: Host> {
    pub responder: Kept<Responder<H>>,
    pub start_response: Py<PyAny>,
    pub errors: Kept<Errors<H>>,
}

/// Sets that wait to be lent again.
pub struct Shelf<H: Host>(Guarded<Vec<Lent<H>>>);

impl<H: Host> Default for Shelf<H> {
    fn default() -> Self {
        Self(Guarded::default())
    }
}

impl<H: Host> Lent<H> {
    /// A set for a request.
    pub fn new(
        py: Python<'_>,
        gateway: &Gateway<H>,
        writer: H::Writer,
        log: H::Log,
    ) -> PyResult<Self> {
        if let Some(set) = gateway.shelf().0.with_mut(py, Vec::pop) {
            set.responder.bind(py).get().lend(writer);
            set.errors.bind(py).get().lend(log);
            return Ok(set);
        }
        let responder = gateway.responder(py, Responder::new(writer))?;
        Ok(Self {
            start_response: responder.method::<StartResponse>()?.unbind(),
            responder: responder.unbind(),
            errors: gateway.errors(py, Errors::new(log))?.unbind(),
        })
    }

    /// Has the set lent again, if nobody has kept any of it. The request has ended, and nothing that came with it
    /// is left.
    pub fn give_back(self, py: Python<'_>, gateway: &Gateway<H>) {
        let responder = self.responder.bind(py);
        let (responder, errors) = (responder.get(), self.errors.bind(py));
        let write = responder.take_write();
        // Both methods hold the responder, and so does the name above.
        let methods = 1 + isize::from(write.is_some());
        let is_kept = is_referred_to(&self.start_response)
            || write.as_ref().is_some_and(is_referred_to)
            || self.responder.references() > 2 + methods
            || self.errors.references() > 2;
        if is_kept {
            return;
        }
        // What was held of the response may run Python when it goes.
        responder.rest(write);
        errors.get().rest();
        let rest = gateway.shelf().0.with_mut(py, |shelf| {
            if shelf.len() >= MOST {
                return Some(self);
            }
            shelf.push(self);
            None
        });
        if rest.is_some() {
            drop(responder.take_write());
        }
    }
}
