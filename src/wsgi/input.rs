//! `wsgi.input`: the request's body as a file object.
//!
//! The bytes stay where nginx put them, in memory or in a temporary file; reading copies them once, into
//! the `bytes` object that the application gets. Those that have not come yet are waited for, where the host
//! can wait. Emptied when the request ends: later use raises `ValueError`, as on a closed file.

use core::cell::{Cell, RefCell};
use core::ffi::CStr;
use std::io::{self, BufRead};

use pyo3::Borrowed;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::py::{Class, Filling, Instance, Method, Methods};

use super::Host;

/// The source of the bytes. Its `Read` and `BufRead` never wait.
pub trait Body: BufRead + 'static {
    /// How many bytes are left; `None` if they have not all come yet.
    fn remaining(&self) -> Option<u64>;

    /// The next bytes, as far as they are in memory; none if they are to be read, or at the end.
    fn at_hand(&mut self) -> &[u8];

    /// Waits, and lets other threads run, until some bytes are there or the end is: `wanted` of them, or as
    /// many as the source likes to give at once.
    ///
    /// # Errors
    /// They will not come.
    fn wait(&mut self, _py: Python<'_>, _wanted: usize) -> io::Result<()> {
        Ok(())
    }
}

/// The value of a `wsgi.input` object.
pub struct Input<H: Host> {
    state: RefCell<State<H::Body>>,
    /// The request has ended, perhaps while another thread waits for the body.
    is_ended: Cell<bool>,
}

enum State<B> {
    Open(B),
    /// A request without a body, for all such requests alike.
    Empty,
}

impl<H: Host> Input<H> {
    /// An input that reads from `body`.
    pub fn new(body: H::Body) -> Self {
        Self::in_state(State::Open(body))
    }

    /// An input at its end, which may be shared by any number of requests.
    pub fn empty() -> Self {
        Self::in_state(State::Empty)
    }

    fn in_state(state: State<H::Body>) -> Self {
        Self { state: RefCell::new(state), is_ended: Cell::new(false) }
    }

    /// Lets go of the body.
    pub fn end(&self) {
        self.is_ended.set(true);
        if let Ok(mut state) = self.state.try_borrow_mut() {
            *state = State::Empty;
        }
    }

    /// Runs `f` with the body, or returns `None` if there is none.
    fn with<R>(&self, f: impl FnOnce(&mut H::Body) -> PyResult<R>) -> PyResult<Option<R>> {
        let mut state = self
            .state
            .try_borrow_mut()
            .map_err(|_| PyRuntimeError::new_err("wsgi.input is being read by another thread"))?;
        let result = match &mut *state {
            State::Open(body) => f(body).map(Some),
            State::Empty => Ok(None),
        };
        if self.is_ended.get() {
            *state = State::Empty;
            return Err(PyValueError::new_err("wsgi.input is used after its request ended"));
        }
        result
    }

    fn read<'py>(&self, py: Python<'py>, size: Option<u64>) -> PyResult<Bound<'py, PyBytes>> {
        let size = size.unwrap_or(u64::MAX);
        let data = self.with(|body| match body.remaining() {
            Some(left) => take(py, body, left.min(size) as usize),
            None => Ok(gather(py, body, size, None)?),
        })?;
        Ok(data.unwrap_or_else(|| PyBytes::new(py, b"")))
    }

    fn read_line<'py>(&self, py: Python<'py>, size: Option<u64>) -> PyResult<Bound<'py, PyBytes>> {
        let line =
            self.with(|body| Ok(gather(py, body, size.unwrap_or(u64::MAX), Some(b'\n'))?))?;
        Ok(line.unwrap_or_else(|| PyBytes::new(py, b"")))
    }
}

/// The next `size` bytes, all of which are there.
fn take<'py, B: Body>(py: Python<'py>, body: &mut B, size: usize) -> PyResult<Bound<'py, PyBytes>> {
    let mut taken = Filling::new(py, size)?;
    while taken.room() > 0 {
        match taken.append(body.at_hand()) {
            0 => body.read_exact(taken.rest())?,
            amount => body.consume(amount),
        }
    }
    Ok(taken.finish())
}

/// The next `size` bytes: fewer at the end of the body, or if `last` comes before.
fn gather<'py, B: Body>(
    py: Python<'py>,
    body: &mut B,
    size: u64,
    last: Option<u8>,
) -> io::Result<Bound<'py, PyBytes>> {
    let mut gathered = Vec::new();
    let mut left = usize::try_from(size).unwrap_or(usize::MAX);
    while left > 0 {
        body.wait(py, if last.is_some() { 1 } else { left })?;
        let available = body.fill_buf()?;
        let available = &available[..available.len().min(left)];
        let found = last.and_then(|last| memchr::memchr(last, available)).map(|at| at + 1);
        let length = found.unwrap_or(available.len());
        left = if found.is_some() || length == 0 { 0 } else { left - length };
        if left == 0 && gathered.is_empty() {
            // Mostly all of it is there, and is copied once.
            let whole = PyBytes::new(py, &available[..length]);
            body.consume(length);
            return Ok(whole);
        }
        gathered.extend_from_slice(&available[..length]);
        body.consume(length);
    }
    Ok(PyBytes::new(py, &gathered))
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
