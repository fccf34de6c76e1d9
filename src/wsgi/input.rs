//! `wsgi.input`: the request's body as a file object.
//!
//! The bytes stay where nginx put them, in memory or in a temporary file; reading copies them once, into
//! the `bytes` object that the application gets. Emptied when the request ends: later use raises
//! `ValueError`, as on a closed file.

use core::cell::RefCell;
use core::ffi::CStr;
use std::io::{self, BufRead, Read};

use pyo3::Borrowed;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::py::{Class, Instance, Method, Methods};

use super::Host;

/// The source of the bytes.
pub trait Body: BufRead + 'static {
    /// How many bytes are left.
    fn remaining(&self) -> u64;
}

/// The value of a `wsgi.input` object.
pub struct Input<H: Host>(RefCell<State<H::Body>>);

enum State<B> {
    Open(B),
    /// A request without a body, for all such requests alike.
    Empty,
    /// The request has ended.
    Ended,
}

impl<H: Host> Input<H> {
    /// An input that reads from `body`.
    pub fn new(body: H::Body) -> Self {
        Self(RefCell::new(State::Open(body)))
    }

    /// An input at its end, which may be shared by any number of requests.
    pub fn empty() -> Self {
        Self(RefCell::new(State::Empty))
    }

    /// Lets go of the body.
    pub fn end(&self) {
        self.0.replace(State::Ended);
    }

    /// Runs `f` with the body, or returns `None` if there is none.
    fn with<R>(&self, f: impl FnOnce(&mut H::Body) -> PyResult<R>) -> PyResult<Option<R>> {
        let mut state = self
            .0
            .try_borrow_mut()
            .map_err(|_| PyRuntimeError::new_err("wsgi.input is being read by another thread"))?;
        match &mut *state {
            State::Open(body) => f(body).map(Some),
            State::Empty => Ok(None),
            State::Ended => {
                Err(PyValueError::new_err("wsgi.input is used after its request ended"))
            }
        }
    }

    fn read<'py>(&self, py: Python<'py>, size: Option<u64>) -> PyResult<Bound<'py, PyBytes>> {
        let data = self.with(|body| {
            let length = body.remaining().min(size.unwrap_or(u64::MAX));
            PyBytes::new_with(py, length as usize, |buffer| Ok(body.read_exact(buffer)?))
        })?;
        Ok(data.unwrap_or_else(|| PyBytes::new(py, b"")))
    }

    fn read_line<'py>(&self, py: Python<'py>, size: Option<u64>) -> PyResult<Bound<'py, PyBytes>> {
        let line = self.with(|body| Ok(line(py, body, size.unwrap_or(u64::MAX))?))?;
        Ok(line.unwrap_or_else(|| PyBytes::new(py, b"")))
    }
}

fn line<'py, B: Body>(py: Python<'py>, body: &mut B, size: u64) -> io::Result<Bound<'py, PyBytes>> {
    let available = body.fill_buf()?;
    let available = &available[..available.len().min(usize::try_from(size).unwrap_or(usize::MAX))];
    // Mostly the whole line is there, and is copied once.
    let whole = match memchr::memchr(b'\n', available) {
        Some(end) => Some(end + 1),
        None if available.len() as u64 == size => Some(available.len()),
        None => None,
    };
    if let Some(length) = whole {
        let line = PyBytes::new(py, &available[..length]);
        body.consume(length);
        return Ok(line);
    }
    let mut line = Vec::new();
    body.take(size).read_until(b'\n', &mut line)?;
    Ok(PyBytes::new(py, &line))
}

impl<H: Host> Class for Input<H> {
    const NAME: &'static CStr = c"ngx_wsgi.Input";
    const DOC: &'static CStr =
        c"wsgi.input of PEP 3333: the request's body, read from nginx's buffers.";
    const ITERATOR: bool = true;

    fn methods(methods: &mut Methods<Self>) {
        methods.add::<ReadMethod>().add::<ReadLine>().add::<ReadLines>();
    }

    fn next<'py>(this: &Instance<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let line = this.get().read_line(this.py(), None)?;
        Ok((!line.as_bytes().is_empty()).then(|| line.into_any()))
    }
}

struct ReadMethod;

impl<H: Host> Method<Input<H>> for ReadMethod {
    const NAME: &'static CStr = c"read";
    const DOC: &'static CStr = c"read(size: int = -1) -> bytes\n\n\
        At most size bytes, all that is left if size is negative or None; b'' at the end.";

    fn call<'py>(
        this: &Instance<'py, Input<H>>,
        args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let size = size_argument("read", args)?;
        Ok(this.get().read(this.py(), size)?.into_any())
    }
}

struct ReadLine;

impl<H: Host> Method<Input<H>> for ReadLine {
    const NAME: &'static CStr = c"readline";
    const DOC: &'static CStr = c"readline(size: int = -1) -> bytes\n\n\
        The next line with its end, at most size bytes of it; b'' at the end.";

    fn call<'py>(
        this: &Instance<'py, Input<H>>,
        args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let size = size_argument("readline", args)?;
        Ok(this.get().read_line(this.py(), size)?.into_any())
    }
}

struct ReadLines;

impl<H: Host> Method<Input<H>> for ReadLines {
    const NAME: &'static CStr = c"readlines";
    const DOC: &'static CStr = c"readlines(hint: int = -1) -> list[bytes]\n\n\
        The lines that are left, or so many that they have at least hint bytes.";

    fn call<'py>(
        this: &Instance<'py, Input<H>>,
        args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let hint = size_argument("readlines", args)?.filter(|hint| *hint > 0);
        let lines = PyList::empty(this.py());
        let mut total = 0;
        while hint.is_none_or(|hint| total < hint) {
            let line = this.get().read_line(this.py(), None)?;
            let length = line.as_bytes().len();
            if length == 0 {
                break;
            }
            total += length as u64;
            lines.append(line)?;
        }
        Ok(lines.into_any())
    }
}

/// The optional size: `None` for everything, like io's methods.
fn size_argument(method: &str, args: &[Borrowed<'_, '_, PyAny>]) -> PyResult<Option<u64>> {
    match args {
        [] => Ok(None),
        [size] if size.is_none() => Ok(None),
        [size] => Ok(u64::try_from(size.extract::<isize>()?).ok()),
        _ => Err(PyTypeError::new_err(format!("{method}() takes at most one argument"))),
    }
}
