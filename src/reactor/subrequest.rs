//! What an application asks of nginx on behalf of its request: subrequests and variables.

use core::ffi::CStr;

use pyo3::Borrowed;
use pyo3::exceptions::{PyKeyError, PyMemoryError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::nginx::subrequest::{Refused, Response};
use crate::nginx::{Subrequest, variable};
use crate::py::{Class, Instance, Method, Methods, latin1, latin1_bytes};

use super::request::Request;

/// A subrequest, as Python has it.
pub struct Asked(Subrequest);

impl Class for Asked {
    const NAME: &'static CStr = c"ngx_wsgi.native.Subrequest";
    const DOC: &'static CStr = c"A subrequest that has been asked for.";

    fn methods(methods: &mut Methods<Self>) {
        methods.add::<Take>();
    }
}

struct Take;

impl Method<Asked> for Take {
    const NAME: &'static CStr = c"take";
    const DOC: &'static CStr =
        c"take() -> tuple | str | None\n\nWhat came of it, once: status, headers and body, or \
        why there is no response. None while it is not done. In any thread.";

    fn call<'py>(
        this: &Instance<'py, Asked>,
        _args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        match this.get().0.take_result() {
            None => Ok(py.None().into_bound(py)),
            Some(Ok(response)) => triple(py, &response),
            Some(Err(failure)) => Ok(PyString::new(py, &failure.to_string()).into_any()),
        }
    }
}

fn triple<'py>(py: Python<'py>, response: &Response) -> PyResult<Bound<'py, PyAny>> {
    let field = |(name, value): &(Vec<u8>, Vec<u8>)| Ok((latin1(py, name)?, latin1(py, value)?));
    let fields: Vec<_> = response.fields.iter().map(field).collect::<PyResult<_>>()?;
    let triple = (response.status, fields, PyBytes::new(py, &response.body));
    Ok(triple.into_pyobject(py)?.into_any())
}

/// `Request.subrequest`.
pub struct Ask;

impl Method<Request> for Ask {
    const NAME: &'static CStr = c"subrequest";
    const DOC: &'static CStr = c"subrequest(uri: str, args: str, method: str) -> Subrequest\n\nHas nginx make a \
        subrequest, and suspends the request with the next empty item until all that have been asked for are \
        done.\n\nRaises ValueError for what nginx cannot ask for, RuntimeError if the request cannot have \
        subrequests.";

    fn call<'py>(
        this: &Instance<'py, Request>,
        args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let [uri, args, method] = args else {
            return Err(PyTypeError::new_err("subrequest() takes a URI, arguments and a method"));
        };
        let (uri, args) = (text(uri, "the URI")?, text(args, "the arguments")?);
        let method = text(method, "the method")?;
        let (job, suspension) = this.get().job()?;
        let asked = Subrequest::new(job.request(), bytes(&uri)?, bytes(&args)?, bytes(&method)?);
        let asked = asked.map_err(|refused| match refused {
            Refused::Relative | Refused::Unsafe | Refused::Unquoted | Refused::UnknownMethod => {
                PyValueError::new_err(refused.to_string())
            }
            Refused::NoMemory => PyMemoryError::new_err(refused.to_string()),
            _ => PyRuntimeError::new_err(refused.to_string()),
        })?;
        suspension.wait_for(job, asked.clone())?;
        Ok(this.get().types().asked.instance(this.py(), Asked(asked))?.as_any().clone())
    }
}

/// `Request.variable`.
pub struct GetVariable;

impl Method<Request> for GetVariable {
    const NAME: &'static CStr = c"variable";
    const DOC: &'static CStr =
        c"variable(name: str) -> str | None\n\nThe value of a variable of nginx, if it has one.";

    fn call<'py>(
        this: &Instance<'py, Request>,
        args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let [name] = args else {
            return Err(PyTypeError::new_err("variable() takes the name of a variable"));
        };
        let name = text(name, "the name of a variable")?;
        let (job, _) = this.get().job()?;
        match variable::get(job.request(), bytes(&name)?, |value| latin1(this.py(), value)) {
            Some(value) => Ok(value?.into_any()),
            None => Ok(this.py().None().into_bound(this.py())),
        }
    }
}

/// `Request.set_variable`.
pub struct SetVariable;

impl Method<Request> for SetVariable {
    const NAME: &'static CStr = c"set_variable";
    const DOC: &'static CStr = c"set_variable(name: str, value: str)\n\nSets a variable of nginx.\n\nRaises KeyError \
        if there is none, ValueError if it cannot be set, RuntimeError after the head has been sent.";

    fn call<'py>(
        this: &Instance<'py, Request>,
        args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let [name, value] = args else {
            return Err(PyTypeError::new_err("set_variable() takes a name and a value"));
        };
        let name = text(name, "the name of a variable")?;
        let value = text(value, "the value of a variable")?;
        let (job, _) = this.get().job()?;
        if job.is_head_sent() {
            let text = "the head of the response has been sent: too late to set a variable";
            return Err(PyRuntimeError::new_err(text));
        }
        variable::set(job.request(), bytes(&name)?, bytes(&value)?).map_err(|refused| {
            let text = format!("{}: {refused}", name.to_string_lossy());
            match refused {
                variable::Refused::Unknown => PyKeyError::new_err(text),
                variable::Refused::Constant | variable::Refused::Control => {
                    PyValueError::new_err(text)
                }
                variable::Refused::NoMemory => PyMemoryError::new_err(text),
            }
        })?;
        Ok(this.py().None().into_bound(this.py()))
    }
}

/// The argument as text; `what` it is.
fn text<'py>(object: &Bound<'py, PyAny>, what: &str) -> PyResult<Bound<'py, PyString>> {
    object.cast::<PyString>().cloned().map_err(|_| {
        let kind =
            object.get_type().qualname().map_or_else(|_| "?".into(), |name| name.to_string());
        PyTypeError::new_err(format!("{what} must be str, not {kind}"))
    })
}

/// The bytes that a native string stands for.
fn bytes<'a>(text: &'a Bound<'_, PyString>) -> PyResult<&'a [u8]> {
    latin1_bytes(text)?.ok_or_else(|| {
        PyValueError::new_err(format!(
            "{text:?} holds characters that are no bytes (beyond U+00FF); encode it to UTF-8 and decode it \
             from Latin-1, or quote it"
        ))
    })
}
