//! The request of an application that runs: `native.request()`.

use core::ffi::CStr;
use core::time::Duration;
use std::rc::Rc;

use pyo3::Borrowed;
use pyo3::exceptions::{PyOverflowError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::exec;
use crate::handler::Job;
use crate::py::{Class, Handle, HeapType, Instance, Method, Methods};

use super::CURRENT;
use super::subrequest::{Ask, Asked, GetVariable, SetVariable};
use super::suspension::Suspension;
use super::ticket::{Call, Resume};

/// What Python has of a request.
pub struct Request {
    job: Handle<Job>,
    types: &'static Types,
}

/// The types that belong to it, those of one interpreter.
pub struct Types {
    request: HeapType<Request>,
    resume: HeapType<Resume>,
    pub asked: HeapType<Asked>,
}

impl Types {
    pub fn new(py: Python<'_>) -> PyResult<Self> {
        Ok(Self {
            request: HeapType::new(py)?,
            resume: HeapType::new(py)?,
            asked: HeapType::new(py)?,
        })
    }

    /// The request of the application that runs in this thread.
    ///
    /// # Errors
    /// `RuntimeError` if none does.
    pub fn current<'py>(&'static self, py: Python<'py>) -> PyResult<Instance<'py, Request>> {
        let Some(job) = CURRENT.get() else {
            return Err(PyRuntimeError::new_err(
                "must be called by the application while it runs, in its own thread",
            ));
        };
        // SAFETY: a job is current only while its slice runs, and it outlives that.
        let job = unsafe { &*job };
        if let Some(suspension) = job.suspension() {
            return Ok(suspension.request.bind(py));
        }
        // SAFETY: the job ends its suspension, and that empties the handle, before it goes.
        let handle = unsafe { Handle::new(job) };
        let request = self.request.instance(py, Request { job: handle, types: self })?;
        let suspension = Suspension::new(py, request.unbind());
        let request = suspension.request.bind(py);
        job.suspension.replace(Some(Rc::new(suspension)));
        Ok(request)
    }
}

impl Request {
    /// The request is over.
    pub fn end(&self) {
        self.job.revoke();
    }

    /// Its job, and what that has of the reactor.
    pub fn job(&self) -> PyResult<(&Job, Rc<Suspension>)> {
        let job = self.job.get();
        let found = job.and_then(|job| Some((job, job.suspension()?)));
        found.ok_or_else(|| PyRuntimeError::new_err("the request is over"))
    }

    /// The types of its interpreter.
    pub fn types(&self) -> &'static Types {
        self.types
    }
}

impl Class for Request {
    const NAME: &'static CStr = c"ngx_wsgi.native.Request";
    const DOC: &'static CStr = c"A request, for the functions that its application calls.";

    fn methods(methods: &mut Methods<Self>) {
        methods.add::<Suspend>().add::<TimedOut>().add::<Attach>().add::<Store>().add::<Flush>();
        methods.add::<Ask>().add::<GetVariable>().add::<SetVariable>();
    }
}

struct Suspend;

impl Method<Request> for Suspend {
    const NAME: &'static CStr = c"suspend";
    const DOC: &'static CStr = c"suspend(milliseconds: int | None) -> resume\n\nSuspends the request with the next \
        empty item that the application yields, until resume() is called or the time is over.\n\nRaises TypeError \
        and ValueError for anything but None and numbers from 0 on.";

    fn call<'py>(
        this: &Instance<'py, Request>,
        args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let timeout = match args {
            [] => None,
            [none] if none.is_none() => None,
            [number] => Some(Duration::from_millis(milliseconds(number)?.min(MOST))),
            _ => return Err(PyTypeError::new_err("suspend() takes one number of milliseconds")),
        };
        let (job, suspension) = this.get().job()?;
        let ticket = suspension.ask(job, timeout)?;
        this.get().types.resume.instance(this.py(), Resume(ticket))?.method::<Call>()
    }
}

/// A number of milliseconds; `u64::MAX` for more than that.
pub fn milliseconds(number: &Bound<'_, PyAny>) -> PyResult<u64> {
    if number.is_instance_of::<PyBool>() {
        return Err(PyTypeError::new_err("a number of milliseconds is an int, not bool"));
    }
    if number.lt(0)? {
        return Err(PyValueError::new_err(format!("{number} is no number of milliseconds")));
    }
    match number.extract::<u64>() {
        Err(error) if !error.is_instance_of::<PyOverflowError>(number.py()) => Err(error),
        number => Ok(number.unwrap_or(u64::MAX)),
    }
}

/// Three weeks. nginx's timers can tell later from earlier within half the range of their clock.
pub const MOST: u64 = i32::MAX as u64;

struct TimedOut;

impl Method<Request> for TimedOut {
    const NAME: &'static CStr = c"timed_out";
    const DOC: &'static CStr =
        c"timed_out() -> bool\n\nWhether the last suspension ended because its time was over.";

    fn call<'py>(
        this: &Instance<'py, Request>,
        _args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (_, suspension) = this.get().job()?;
        Ok(PyBool::new(this.py(), suspension.has_timed_out()).to_owned().into_any())
    }
}

struct Attach;

impl Method<Request> for Attach {
    const NAME: &'static CStr = c"attach";
    const DOC: &'static CStr =
        c"attach(object)\n\nHas object.cancel() called when the suspension ends, whatever ends it.";

    fn call<'py>(
        this: &Instance<'py, Request>,
        args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (_, suspension) = this.get().job()?;
        for object in args {
            suspension.attach((*object).to_owned().unbind());
        }
        Ok(this.py().None().into_bound(this.py()))
    }
}

struct Store;

impl Method<Request> for Store {
    const NAME: &'static CStr = c"store";
    const DOC: &'static CStr = c"store() -> dict\n\nA dictionary that is gone with the request.";

    fn call<'py>(
        this: &Instance<'py, Request>,
        _args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (_, suspension) = this.get().job()?;
        Ok(suspension.store.bind(this.py()).clone().into_any())
    }
}

struct Flush;

impl Method<Request> for Flush {
    const NAME: &'static CStr = c"flush";
    const DOC: &'static CStr =
        c"flush()\n\nSends the head, if it has not been sent, and what is held back.\n\n\
        Raises RuntimeError before start_response has been called.";

    fn call<'py>(
        this: &Instance<'py, Request>,
        _args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (job, _) = this.get().job()?;
        exec::inline::flush(this.py(), job)?;
        Ok(this.py().None().into_bound(this.py()))
    }
}
