//! `start_response` and the `write` that it returns.
//!
//! Both are methods of one object per request, the responder. It keeps the head aside until the first
//! block goes out; until then another call with `exc_info` may replace it.

use core::cell::{Cell, RefCell};
use core::ffi::CStr;

use pyo3::Borrowed;
use pyo3::exceptions::{PyBaseException, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyList, PyString, PyTuple};

use crate::py::{Class, Instance, Method, Methods, PyBlock, latin1_bytes};

use super::Host;
use super::draft::Draft;
use super::head::{Head, HeadError};

/// Takes what the application writes with `write()`.
pub trait Writer: 'static {
    /// Sends `block`, after what waits in `draft`.
    fn write(&self, py: Python<'_>, draft: &Draft, block: PyBlock) -> PyResult<()>;

    /// Another head replaces the one before the client has seen it: drops what was written under that.
    fn discard(&self);

    /// Whether the client has left, as far as the host knows.
    fn is_client_gone(&self) -> bool {
        false
    }

    /// The request ends; writing fails from now on.
    fn end(&self);
}

/// The value behind `start_response`.
pub struct Responder<H: Host> {
    /// Absent while it is not lent.
    writer: RefCell<Option<H::Writer>>,
    draft: Draft,
    has_ended: Cell<bool>,
    /// What `start_response` returns, once it has been called. It holds the responder, so whoever owns that takes
    /// it out in the end.
    write: RefCell<Option<Py<PyAny>>>,
}

impl<H: Host> Responder<H> {
    /// A responder for a request.
    pub fn new(writer: H::Writer) -> Self {
        Self {
            writer: RefCell::new(Some(writer)),
            draft: Draft::default(),
            has_ended: Cell::new(false),
            write: RefCell::new(None),
        }
    }

    /// It is lent again, to another request.
    pub fn lend(&self, writer: H::Writer) {
        self.writer.replace(Some(writer));
        self.has_ended.set(false);
    }

    /// It is not lent any more, and forgets the request.
    pub fn rest(&self, write: Option<Py<PyAny>>) {
        self.writer.replace(None);
        self.draft.clear();
        self.write.replace(write);
    }

    /// Takes `write` out.
    pub fn take_write(&self) -> Option<Py<PyAny>> {
        self.write.take()
    }

    /// Begins a response that has been given as a whole.
    pub fn begin(&self, status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        self.draft.begin(None);
        self.draft.begin(Some(parse(status, headers)?));
        Ok(())
    }

    /// What has not been given to nginx.
    pub fn draft(&self) -> &Draft {
        &self.draft
    }

    /// Lets go of the request.
    pub fn end(&self) {
        self.has_ended.set(true);
        self.with_writer(H::Writer::end);
    }

    fn with_writer<R>(&self, f: impl FnOnce(&H::Writer) -> R) -> Option<R> {
        self.writer.borrow().as_ref().map(f)
    }

    fn check_alive(&self, name: &str) -> PyResult<()> {
        if self.has_ended.get() {
            return Err(PyRuntimeError::new_err(format!(
                "{name}() is used after its request ended"
            )));
        }
        Ok(())
    }
}

impl<H: Host> Class for Responder<H> {
    const NAME: &'static CStr = c"ngx_wsgi.Responder";
    const DOC: &'static CStr = c"What start_response() and write() of PEP 3333 belong to.";

    fn methods(methods: &mut Methods<Self>) {
        methods.add::<StartResponse>().add::<Write>().add::<ClientDisconnected>();
    }
}

/// The callable that applications get.
pub struct StartResponse;

impl<H: Host> Method<Responder<H>> for StartResponse {
    const NAME: &'static CStr = c"start_response";
    const DOC: &'static CStr = c"start_response(status: str, headers: list[tuple[str, str]], \
        exc_info=None) -> Callable[[bytes], None]\n\n\
        Begins the response (PEP 3333, The start_response() Callable). Returns write().";
    const KEYWORD: Option<&'static str> = Some("exc_info");

    fn call<'py>(
        this: &Instance<'py, Responder<H>>,
        args: &[Borrowed<'_, 'py, PyAny>],
        keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (status, headers, exc_info) = match (args, keyword) {
            ([status, headers], exc_info) => (status, headers, exc_info),
            ([status, headers, exc_info], None) => (status, headers, Some(*exc_info)),
            _ => {
                return Err(PyTypeError::new_err(
                    "start_response() takes a status, a list of headers and optionally exc_info",
                ));
            }
        };
        let responder = this.get();
        responder.check_alive("start_response")?;
        let exc_info = exc_info.filter(|exc_info| !exc_info.is_none());
        let raised = exc_info.map(|exc_info| exception_of(&exc_info)).transpose()?;
        match raised {
            Some(raised) if responder.draft.is_committed() => return Err(raised),
            Some(_) => {
                responder.draft.discard();
                responder.with_writer(H::Writer::discard);
            }
            None if responder.draft.is_called() => {
                return Err(PyRuntimeError::new_err(
                    "start_response() was called before; a second call needs exc_info",
                ));
            }
            None => {}
        }
        responder.draft.begin(None);
        responder.draft.begin(Some(parse(status, headers)?));
        if let Some(write) = &*responder.write.borrow() {
            return Ok(write.bind(this.py()).clone());
        }
        let write = this.method::<Write>()?;
        responder.write.replace(Some(write.clone().unbind()));
        Ok(write)
    }
}

/// The exception in `exc_info`, with its traceback: once the headers are out, PEP 3333 wants it raised
/// again.
fn exception_of(exc_info: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let wrong = || PyTypeError::new_err("exc_info must be a tuple (type, value, traceback)");
    let exc_info = exc_info.cast::<PyTuple>().map_err(|_| wrong())?;
    if exc_info.len() != 3 {
        return Err(wrong());
    }
    let value = exc_info.get_item(1)?;
    if !value.is_instance_of::<PyBaseException>() {
        return Err(wrong());
    }
    let traceback = exc_info.get_item(2)?;
    if !traceback.is_none() {
        value.call_method1("with_traceback", (traceback,))?;
    }
    Ok(PyErr::from_value(value))
}

fn parse(status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<Head> {
    let headers = headers.cast_exact::<PyList>().map_err(|_| {
        PyTypeError::new_err(format!("headers must be a list, not {}", kind(headers)))
    })?;
    let status = native(status, || "the status".to_owned())?;
    let mut head = Head::new(status, headers.len()).map_err(value_error)?;
    for header in headers {
        let Ok(pair) = header.cast::<PyTuple>() else {
            let kind = kind(&header);
            return Err(PyTypeError::new_err(format!("a header must be a tuple, not {kind}")));
        };
        if pair.len() != 2 {
            let length = pair.len();
            return Err(PyTypeError::new_err(format!(
                "a header must be a pair, not {length} items"
            )));
        }
        let (name, value) = (pair.get_borrowed_item(0)?, pair.get_borrowed_item(1)?);
        let name_bytes = native(&name, || "a header's name".to_owned())?;
        let value = native(&value, || format!("the value of {name:?}"))?;
        head.push(name_bytes, value).map_err(value_error)?;
    }
    Ok(head)
}

/// The bytes of a native string, which `what` names.
fn native<'a>(value: &'a Bound<'_, PyAny>, what: impl Fn() -> String) -> PyResult<&'a [u8]> {
    let Ok(text) = value.cast::<PyString>() else {
        let kind = kind(value);
        return Err(PyTypeError::new_err(format!("{} must be str, not {kind}", what())));
    };
    latin1_bytes(text)?.ok_or_else(|| {
        PyValueError::new_err(format!("{} holds characters that are not Latin-1", what()))
    })
}

fn value_error(error: HeadError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn kind(value: &Bound<'_, PyAny>) -> String {
    value.get_type().qualname().map_or_else(|_| "?".to_owned(), |name| name.to_string())
}

/// `ngx.client_disconnected`.
pub struct ClientDisconnected;

impl<H: Host> Method<Responder<H>> for ClientDisconnected {
    const NAME: &'static CStr = c"client_disconnected";
    const DOC: &'static CStr =
        c"client_disconnected() -> bool\n\nWhether the client has closed the connection, as far as nginx knows.";

    fn call<'py>(
        this: &Instance<'py, Responder<H>>,
        _args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let is_gone = this.get().with_writer(H::Writer::is_client_gone).unwrap_or_default();
        Ok(PyBool::new(this.py(), is_gone).to_owned().into_any())
    }
}

/// The callable that `start_response` returns.
pub struct Write;

impl<H: Host> Method<Responder<H>> for Write {
    const NAME: &'static CStr = c"write";
    const DOC: &'static CStr = c"write(data: bytes) -> None\n\n\
        Sends data before anything that the application's iterable yields (PEP 3333).";

    fn call<'py>(
        this: &Instance<'py, Responder<H>>,
        args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let [data] = args else {
            return Err(PyTypeError::new_err("write() takes exactly one argument"));
        };
        let Ok(data) = data.cast::<PyBytes>() else {
            let kind = kind(data);
            return Err(PyTypeError::new_err(format!(
                "write() argument must be bytes, not {kind}"
            )));
        };
        let responder = this.get();
        responder.check_alive("write")?;
        if !data.as_bytes().is_empty() {
            let block = PyBlock::new(&data);
            let write = |writer: &H::Writer| writer.write(this.py(), &responder.draft, block);
            responder.with_writer(write).transpose()?;
        }
        Ok(this.py().None().into_bound(this.py()))
    }
}
