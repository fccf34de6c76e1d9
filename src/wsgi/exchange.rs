//! One request and its response as the application sees them.
//!
//! An exchange is made by the executor when the body has been read, and ends with the request. The
//! objects it lent to Python are emptied then, whoever still holds them.

use core::cell::RefCell;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::error::Error;
use crate::py::{Context, HeapType, Instance, Kept};

use super::Host;
use super::app_iter::{self, AppIter, Step};
use super::draft::Draft;
use super::environ::{Environ, Headers, Parts, Vars};
use super::errors::Errors;
use super::file_wrapper::Files;
use super::input::Input;
use super::keys::Keys;
use super::lent::{Lent, Shelf};
use super::start_response::Responder;

/// What the gateway keeps per interpreter: its types and strings.
pub struct Gateway<H: Host> {
    keys: Keys,
    responder: HeapType<Responder<H>>,
    errors: HeapType<Errors<H>>,
    input: HeapType<Input<H>>,
    files: Files,
    empty_input: Kept<Input<H>>,
    shelf: Shelf<H>,
}

impl<H: Host> Gateway<H> {
    /// Makes the types.
    pub fn new(py: Python<'_>) -> PyResult<Self> {
        let input = HeapType::new(py)?;
        Ok(Self {
            keys: Keys::new(py)?,
            responder: HeapType::new(py)?,
            errors: HeapType::new(py)?,
            files: Files::new(py)?,
            empty_input: input.instance(py, Input::empty())?.unbind(),
            input,
            shelf: Shelf::default(),
        })
    }

    pub(super) fn responder<'py>(
        &self,
        py: Python<'py>,
        value: Responder<H>,
    ) -> PyResult<Instance<'py, Responder<H>>> {
        self.responder.instance(py, value)
    }

    pub(super) fn errors<'py>(
        &self,
        py: Python<'py>,
        value: Errors<H>,
    ) -> PyResult<Instance<'py, Errors<H>>> {
        self.errors.instance(py, value)
    }

    pub(super) fn shelf(&self) -> &Shelf<H> {
        &self.shelf
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(super) fn empty_input<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.empty_input.bind(py).as_any().clone()
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }
}

/// How the application is called: `wsgi_protocol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// PEP 3333.
    #[default]
    Wsgi,
    /// `status, headers, body = app(environ)`, the community's first idea of a WSGI 2.
    Wsgi2,
}

/// A request between the call of the application and `close()`. To be dropped attached.
pub struct Exchange<H: Host> {
    lent: Box<Lent<H>>,
    /// Absent for a request without a body, which shares the empty one.
    input: Option<Kept<Input<H>>>,
    context: Context,
    app_iter: RefCell<Option<AppIter>>,
}

impl<H: Host> Exchange<H> {
    /// Makes the objects that the application will see.
    pub fn new(
        py: Python<'_>,
        gateway: &Gateway<H>,
        writer: H::Writer,
        log: H::Log,
        body: Option<H::Body>,
    ) -> PyResult<Self> {
        let input = match body {
            Some(body) => Some(gateway.input.instance(py, Input::new(body))?.unbind()),
            None => None,
        };
        Ok(Self {
            // Before what is lent, which whoever fails now would have to give back.
            context: Context::copy_current(py)?,
            lent: Lent::new(py, gateway, writer, log)?,
            input,
            app_iter: RefCell::new(None),
        })
    }

    /// Runs one slice: everything of the application runs in the request's own context.
    pub fn slice<R>(&self, py: Python<'_>, f: impl FnOnce() -> R) -> PyResult<R> {
        self.context.run(py, f)
    }

    /// environ for this request.
    pub fn environ<'py, 'a>(
        &self,
        py: Python<'py>,
        gateway: &Gateway<H>,
        environ: &Environ,
        parts: Parts<'a, impl Headers<'a>, impl Vars<'a>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let input = self.input.as_ref().map(|input| input.bind(py));
        let input = input.as_ref().map(Instance::as_any);
        environ.build(py, gateway, parts, input, &self.lent)
    }

    /// Calls the application.
    pub fn call(
        &self,
        py: Python<'_>,
        gateway: &Gateway<H>,
        app: &Bound<'_, PyAny>,
        environ: Bound<'_, PyDict>,
        protocol: Protocol,
    ) -> Result<(), Error> {
        match protocol {
            Protocol::Wsgi => {
                let result = app.call1((environ, self.lent.start_response.bind(py)));
                self.lent.settle(py);
                let result = result?;
                let has_written = self.draft(py, Draft::has_written);
                self.take(gateway, &result, has_written)
            }
            Protocol::Wsgi2 => {
                let result = app.call1((environ,));
                self.lent.settle(py);
                let [status, headers, body] = triple(&result?)?;
                // First of all, so that it is closed whatever is wrong with the rest.
                self.take(gateway, &body, false)?;
                Ok(self.lent.responder.bind(py).get().begin(&status, &headers)?)
            }
        }
    }

    /// Takes over what the application returned as its body.
    fn take(
        &self,
        gateway: &Gateway<H>,
        body: &Bound<'_, PyAny>,
        has_written: bool,
    ) -> Result<(), Error> {
        // From here on `end` closes it, whatever happens while it is looked at: that may ask the application, and
        // may panic for want of memory.
        self.app_iter.replace(Some(AppIter::new(body)));
        let looked = app_iter::look_at(body, gateway, has_written);
        match looked {
            Ok(rest) => {
                if let Some(app_iter) = &mut *self.app_iter.borrow_mut() {
                    app_iter.ask_for(rest);
                }
                Ok(())
            }
            Err(error) => {
                if let Some(app_iter) = self.app_iter.take() {
                    // The first error is the one to report; that of close() would only follow from it.
                    let _ = app_iter.close(body.py(), gateway);
                }
                Err(error)
            }
        }
    }

    /// Whether the whole body is there: a list or a tuple.
    pub fn is_sequence(&self) -> bool {
        self.app_iter.borrow().as_ref().is_some_and(AppIter::is_sequence)
    }

    /// Asks the application for the next block.
    pub fn step(&self, py: Python<'_>) -> Result<Step, Error> {
        match &mut *self.app_iter.borrow_mut() {
            Some(app_iter) => app_iter.step(py),
            None => Ok(Step::Done),
        }
    }

    /// nginx has taken the file of `Step::File`, or (`taken` false) cannot send it.
    pub fn file_taken(&self, py: Python<'_>, taken: bool) -> PyResult<()> {
        match &mut *self.app_iter.borrow_mut() {
            Some(app_iter) if taken => app_iter.file_taken(),
            Some(app_iter) => app_iter.read_file(py)?,
            None => {}
        }
        Ok(())
    }

    /// What `f` makes of what has not been given to nginx.
    pub fn draft<R>(&self, py: Python<'_>, f: impl FnOnce(&Draft) -> R) -> R {
        f(self.lent.responder.bind(py).get().draft())
    }

    /// Whether `close()` has nothing to do: what is left of the exchange does not concern the application.
    pub fn is_closed(&self) -> bool {
        self.app_iter.borrow().as_ref().is_none_or(AppIter::is_closed)
    }

    /// Ends the exchange: `close()`, once, and everything lent to Python is taken back.
    pub fn end(&self, py: Python<'_>, gateway: &Gateway<H>) -> PyResult<()> {
        let app_iter = self.app_iter.take();
        // close() may still read and log, but the response is over.
        self.lent.responder.bind(py).get().end();
        let closed = match &app_iter {
            // Whatever the application did to its context, close() is called.
            Some(app_iter) => self
                .slice(py, || app_iter.close(py, gateway))
                .unwrap_or_else(|_| app_iter.close(py, gateway)),
            None => Ok(()),
        };
        // Its finalizer may still log.
        drop(app_iter);
        self.lent.errors.bind(py).get().end();
        self.take_back(py);
        closed
    }

    /// What it lent to Python may be lent again. It has ended.
    pub fn give_back(self, py: Python<'_>, gateway: &Gateway<H>) {
        let Self { lent, input, context, app_iter } = self;
        // They may have it.
        drop((input, context, app_iter));
        lent.give_back(py, gateway);
    }

    /// Takes back what leads to the request: `start_response`, `write` and `wsgi.input`.
    pub fn take_back(&self, py: Python<'_>) {
        self.lent.responder.bind(py).get().end();
        if let Some(input) = &self.input {
            input.bind(py).get().end();
        }
    }
}

/// Status, headers and body of an application that speaks `Protocol::Wsgi2`.
fn triple<'py>(result: &Bound<'py, PyAny>) -> Result<[Bound<'py, PyAny>; 3], Error> {
    match result.cast::<PyTuple>() {
        Ok(tuple) if tuple.len() == 3 => {
            Ok([tuple.get_item(0)?, tuple.get_item(1)?, tuple.get_item(2)?])
        }
        Ok(tuple) => Err(Error::NotTriple(format!("tuple of {} items", tuple.len()))),
        Err(_) => Err(Error::NotTriple(result.get_type().qualname()?.to_string())),
    }
}
