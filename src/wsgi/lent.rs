//! The objects that every request lends to Python: `start_response` with the `write` that it returns,
//! `wsgi.errors`, and environ itself.
//!
//! Applications seldom keep them. Those that nobody has kept are lent again, which is cheaper than to make
//! them anew for each request.

use core::cell::RefCell;

use pyo3::prelude::*;

use crate::py::{Guarded, Kept, is_referred_to};

use super::Host;
use super::errors::Errors;
use super::exchange::Gateway;
use super::refill::Refill;
use super::start_response::{ClientDisconnected, Responder, StartResponse};

/// How many sets wait to be lent again, for so many requests at a time.
const MOST: usize = 8;

/// The objects of one request. To be dropped while attached.
pub struct Lent<H: Host> {
    pub responder: Kept<Responder<H>>,
    pub start_response: Py<PyAny>,
    pub errors: Kept<Errors<H>>,
    /// `ngx.client_disconnected`, where it can tell something.
    pub client_disconnected: Option<Py<PyAny>>,
    /// The environ that they are in, while it can be filled again.
    pub environ: RefCell<Option<Refill>>,
}

/// Sets that wait to be lent again.
#[allow(clippy::vec_box, reason = "they are moved from here to requests and back")]
pub struct Shelf<H: Host>(Guarded<Vec<Box<Lent<H>>>>);

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
    ) -> PyResult<Box<Self>> {
        if let Some(set) = gateway.shelf().0.with_mut(py, Vec::pop) {
            set.responder.bind(py).get().lend(writer);
            set.errors.bind(py).get().lend(log);
            return Ok(set);
        }
        let responder = gateway.responder(py, Responder::new(writer))?;
        let client_disconnected = H::HAS_THREADS
            .then(|| responder.method::<ClientDisconnected>().map(Bound::unbind))
            .transpose()?;
        Ok(Box::new(Self {
            start_response: responder.method::<StartResponse>()?.unbind(),
            client_disconnected,
            environ: RefCell::default(),
            responder: responder.unbind(),
            errors: gateway.errors(py, Errors::new(log))?.unbind(),
        }))
    }

    /// The application has returned. Unless it has left environ as it was, that is its own from now on, and goes
    /// when it lets go of it.
    pub fn settle(&self, py: Python<'_>) {
        let environ = self.environ.take();
        // One that goes may run Python.
        let environ = environ.and_then(|environ| environ.rest(py));
        self.environ.replace(environ);
    }

    /// Has the set lent again, if nobody has kept any of it. The request has ended.
    pub fn give_back(self: Box<Self>, py: Python<'_>, gateway: &Gateway<H>) {
        let in_environ = self.environ.borrow().as_ref().map_or(0, |_| Refill::REFERENCES);
        let responder = self.responder.bind(py);
        let (responder, errors) = (responder.get(), self.errors.bind(py));
        let write = responder.take_write();
        // Each method holds the responder, and so does the name above.
        let is_gone = self.client_disconnected.as_ref();
        let methods = 1 + isize::from(write.is_some()) + isize::from(is_gone.is_some());
        let is_kept = is_referred_to(&self.start_response, 1)
            || write.as_ref().is_some_and(|write| is_referred_to(write, 1))
            || is_gone.is_some_and(|is_gone| is_referred_to(is_gone, 1 + in_environ))
            || self.responder.references() > 2 + methods
            || self.errors.references() > 2 + in_environ;
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
