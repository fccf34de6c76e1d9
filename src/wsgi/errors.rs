//! `wsgi.errors`: a text stream into the error log, line by line.
//!
//! One instance per request, so that the lines carry the request's context and those of interleaved
//! requests do not mix. Lines written after the request has ended are logged without the context.

use core::cell::RefCell;
use core::ffi::CStr;

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::py::{Class, Instance, Method, Methods};

use super::Host;

/// Takes complete lines, without their ends.
pub trait LineLog: 'static {
    /// Logs one line.
    fn line(&self, line: &[u8]);

    /// The request ends; later lines are logged without it.
    fn end(&self);
}

/// The value of a `wsgi.errors` object.
pub struct Errors<H: Host> {
    /// Absent while it is not lent.
    log: RefCell<Option<H::Log>>,
    pending: RefCell<Vec<u8>>,
}

impl<H: Host> Errors<H> {
    /// The stream of a request.
    pub fn new(log: H::Log) -> Self {
        Self { log: RefCell::new(Some(log)), pending: RefCell::default() }
    }

    /// It is lent again, to another request.
    pub fn lend(&self, log: H::Log) {
        self.log.replace(Some(log));
    }

    /// It is not lent any more, and forgets the request, for which it has ended: what has been written since is
    /// logged without it.
    pub fn rest(&self) {
        self.flush();
        self.log.replace(None);
    }

    /// Logs an incomplete last line and lets go of the request.
    pub fn end(&self) {
        self.flush();
        if let Some(log) = &*self.log.borrow() {
            log.end();
        }
    }

    fn line(&self, line: &[u8]) {
        if let Some(log) = &*self.log.borrow() {
            log.line(line);
        }
    }

    fn flush(&self) {
        let pending = self.pending.take();
        if !pending.is_empty() {
            self.line(&pending);
        }
    }

    fn write(&self, text: &[u8]) {
        let mut lines = text.split(|byte| *byte == b'\n');
        let Some(first) = lines.next() else { return };
        let mut last = self.pending.take();
        last.extend_from_slice(first);
        for line in lines {
            self.line(&last);
            last.clear();
            last.extend_from_slice(line);
        }
        self.pending.replace(last);
    }
}

impl<H: Host> Class for Errors<H> {
    const NAME: &'static CStr = c"ngx_wsgi.Errors";
    const DOC: &'static CStr = c"wsgi.errors of PEP 3333: a text stream into nginx's error log.";

    fn methods(methods: &mut Methods<Self>) {
        methods.add::<Write>().add::<WriteLines>().add::<Flush>();
    }
}

struct Write;

impl<H: Host> Method<Errors<H>> for Write {
    const NAME: &'static CStr = c"write";
    const DOC: &'static CStr =
        c"write(text: str) -> int\n\nLogs the lines of text; the rest waits for its end or flush().";

    fn call<'py>(
        this: &Instance<'py, Errors<H>>,
        args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let [text] = args else {
            return Err(PyTypeError::new_err("write() takes exactly one argument"));
        };
        write(this, text)
    }
}

struct WriteLines;

impl<H: Host> Method<Errors<H>> for WriteLines {
    const NAME: &'static CStr = c"writelines";
    const DOC: &'static CStr = c"writelines(lines: Iterable[str]) -> None\n\nWrites each of lines.";

    fn call<'py>(
        this: &Instance<'py, Errors<H>>,
        args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let [lines] = args else {
            return Err(PyTypeError::new_err("writelines() takes exactly one argument"));
        };
        for line in lines.try_iter()? {
            write(this, &line?)?;
        }
        Ok(this.py().None().into_bound(this.py()))
    }
}

struct Flush;

impl<H: Host> Method<Errors<H>> for Flush {
    const NAME: &'static CStr = c"flush";
    const DOC: &'static CStr = c"flush() -> None\n\nLogs an incomplete line.";

    fn call<'py>(
        this: &Instance<'py, Errors<H>>,
        _args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        this.get().flush();
        Ok(this.py().None().into_bound(this.py()))
    }
}

fn write<'py, H: Host>(
    this: &Instance<'py, Errors<H>>,
    text: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let Ok(text) = text.cast::<PyString>() else {
        let kind = text.get_type().qualname()?;
        return Err(PyTypeError::new_err(format!("write() argument must be str, not {kind}")));
    };
    match text.to_str() {
        Ok(utf8) => this.get().write(utf8.as_bytes()),
        // Lone surrogates have no UTF-8; PEP 3333 wants any text accepted.
        Err(_) => {
            let encoded = text.call_method1("encode", ("utf-8", "backslashreplace"))?;
            this.get().write(encoded.cast::<PyBytes>()?.as_bytes());
        }
    }
    Ok(text.len()?.into_pyobject(this.py())?.into_any())
}
