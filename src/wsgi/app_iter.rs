//! app_iter: what the application returned, asked for one block after the other.
//!
//! Made when the call returns, owned by the exchange, closed exactly once. Who drives it decides when to
//! take the next step; here is only what a step is.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList, PyString, PyTuple};

use crate::error::Error;
use crate::py::PyBlock;

use super::Host;
use super::exchange::Gateway;
use super::file_wrapper::FileRange;

/// What one step gave.
pub enum Step {
    /// A block to send before the next step.
    Block(PyBlock),
    /// An empty item: nothing to send, and a good moment to do something else.
    Empty,
    /// All blocks of a list, empty ones left out. There is nothing more.
    All(Vec<PyBlock>),
    /// A file that nginx may send. If it cannot, `AppIter::read_file` makes the file give blocks.
    File(FileRange),
    /// There is nothing more.
    Done,
}

/// The application's result while it is worked off.
pub struct AppIter {
    /// The object that the application returned; `close()` is called on it and on nothing else.
    object: Py<PyAny>,
    rest: Rest,
}

/// What is left of it to ask for.
pub enum Rest {
    /// A list or a tuple, sent in one go.
    Sequence,
    /// One that has been taken; it has no `close()`.
    Taken,
    /// A file wrapper around a regular file.
    File(FileRange),
    /// Any other iterable.
    Iterator(Py<PyIterator>),
    /// Nothing.
    Nothing,
}

impl AppIter {
    /// What the application returned, of which nothing is known yet.
    pub fn new(object: &Bound<'_, PyAny>) -> Self {
        Self { object: object.clone().unbind(), rest: Rest::Nothing }
    }

    /// It is to be asked for this.
    pub fn ask_for(&mut self, rest: Rest) {
        self.rest = rest;
    }

    /// Whether the whole body is there and has not been taken.
    pub fn is_sequence(&self) -> bool {
        matches!(self.rest, Rest::Sequence)
    }

    /// Whether it has been taken as a whole and needs no `close()`.
    pub fn is_closed(&self) -> bool {
        matches!(self.rest, Rest::Taken)
    }

    /// Asks for the next block. Must not be called again once it returned `All`, `Done` or an error.
    pub fn step(&mut self, py: Python<'_>) -> Result<Step, Error> {
        match &self.rest {
            Rest::Iterator(iterator) => match iterator.bind(py).clone().next() {
                Some(item) => Ok(match block(&item?)? {
                    Some(block) => Step::Block(block),
                    None => Step::Empty,
                }),
                None => Ok(Step::Done),
            },
            Rest::Sequence => {
                self.rest = Rest::Taken;
                let object = self.object.bind(py);
                let blocks = match object.cast::<PyList>() {
                    Ok(list) => blocks(list.iter())?,
                    Err(_) => blocks(object.cast::<PyTuple>().map_err(PyErr::from)?.iter())?,
                };
                Ok(Step::All(blocks))
            }
            Rest::File(range) => Ok(Step::File(*range)),
            Rest::Nothing | Rest::Taken => Ok(Step::Done),
        }
    }

    /// Makes a file give blocks, because nginx cannot send it.
    pub fn read_file(&mut self, py: Python<'_>) -> PyResult<()> {
        self.rest = Rest::Iterator(self.object.bind(py).try_iter()?.unbind());
        Ok(())
    }

    /// The file is with nginx: nothing more to ask for.
    pub fn file_taken(&mut self) {
        self.rest = Rest::Nothing;
    }

    /// Calls `close()` of what the application returned, if it has one.
    pub fn close<H: Host>(&self, py: Python<'_>, gateway: &Gateway<H>) -> PyResult<()> {
        close(self.object.bind(py), gateway)
    }
}

/// Looks at what the application returned. `has_written`: `write()` was used, so a file is read and not sent,
/// because what was written goes first and Content-Length is not the file's.
pub fn look_at<H: Host>(
    object: &Bound<'_, PyAny>,
    gateway: &Gateway<H>,
    has_written: bool,
) -> Result<Rest, Error> {
    if object.is_exact_instance_of::<PyList>() || object.is_exact_instance_of::<PyTuple>() {
        return Ok(Rest::Sequence);
    }
    if !has_written && let Some(range) = gateway.files().range(object)? {
        return Ok(Rest::File(range));
    }
    if is_mistaken(object, gateway)? {
        return Err(Error::NotIterable(object.get_type().qualname()?.to_string()));
    }
    Ok(Rest::Iterator(object.try_iter()?.unbind()))
}

/// Calls `close()` of `object`, if it has one (PEP 3333, Specification Details).
pub fn close<H: Host>(object: &Bound<'_, PyAny>, gateway: &Gateway<H>) -> PyResult<()> {
    if object.is_exact_instance_of::<PyList>() || object.is_exact_instance_of::<PyTuple>() {
        return Ok(());
    }
    match object.getattr_opt(&gateway.keys().close)? {
        Some(close) => close.call0().map(drop),
        None => Ok(()),
    }
}

fn blocks<'py>(
    items: impl ExactSizeIterator<Item = Bound<'py, PyAny>>,
) -> Result<Vec<PyBlock>, Error> {
    let mut blocks = Vec::with_capacity(items.len());
    for item in items {
        blocks.extend(block(&item)?);
    }
    Ok(blocks)
}

/// The item as a block, `None` if it is empty.
fn block(item: &Bound<'_, PyAny>) -> Result<Option<PyBlock>, Error> {
    match item.cast::<PyBytes>() {
        Ok(bytes) if bytes.as_bytes().is_empty() => Ok(None),
        Ok(bytes) => Ok(Some(PyBlock::new(bytes))),
        Err(_) => Err(Error::NotBytes(item.get_type().qualname()?.to_string())),
    }
}

/// Whether the object gives no items that could be blocks: a `str` and `bytes` are iterable, but not what
/// their author meant.
fn is_mistaken<H: Host>(object: &Bound<'_, PyAny>, gateway: &Gateway<H>) -> PyResult<bool> {
    let keys = gateway.keys();
    let is_text = object.is_instance_of::<PyString>() || object.is_instance_of::<PyBytes>();
    Ok(is_text || !(object.hasattr(&keys.iter)? || object.hasattr(&keys.getitem)?))
}
