//! Tickets: what `resume()` stands for, in whatever thread it is called.
//!
//! A suspension has one. Who uses it first decides how the suspension ends: `resume()`, or nginx when the time
//! is over or the request ends.

use core::cell::RefCell;
use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::HashMap;
use std::sync::Arc;

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::handler::Job;
use crate::py::{Class, Instance, Method, Methods};

use super::inbox::{self, Message};
use super::{Reactor, suspension};

thread_local! {
    /// On nginx's thread: the jobs of the tickets that have not ended.
    static JOBS: RefCell<HashMap<u64, *const Job>> = RefCell::default();
}

/// The ticket of a suspension.
pub struct Ticket {
    key: u64,
    is_used: AtomicBool,
}

impl Ticket {
    /// One for `job`, which is to call `end` before it goes. On nginx's thread.
    pub fn new(job: &Job) -> PyResult<Arc<Self>> {
        let key = Reactor::with(|reactor| Ok(reactor.key()))?;
        JOBS.with_borrow_mut(|jobs| jobs.insert(key, job));
        Ok(Arc::new(Self { key, is_used: AtomicBool::new(false) }))
    }

    pub fn key(&self) -> u64 {
        self.key
    }

    /// Uses it. False if it has been used.
    pub fn take(&self) -> bool {
        !self.is_used.swap(true, Ordering::AcqRel)
    }

    /// Whether it has been used.
    pub fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Acquire)
    }

    /// Lets the request go on; in any thread. Whether it is this call that does.
    pub fn resume(&self) -> bool {
        if !self.take() {
            return false;
        }
        match Reactor::try_with(|_| resumed(self.key)) {
            Some(()) => true,
            None => inbox::send(Message::Resume(self.key)),
        }
    }

    /// The suspension is over. On nginx's thread.
    pub fn end(&self) {
        self.is_used.store(true, Ordering::Release);
        JOBS.with_borrow_mut(|jobs| jobs.remove(&self.key));
    }
}

/// On nginx's thread: the ticket with this key has been used.
pub fn resumed(key: u64) {
    with_job(key, suspension::resumed);
}

/// On nginx's thread: does something with the job of a ticket, unless its suspension is over.
pub fn with_job(key: u64, f: impl FnOnce(&Job)) {
    if let Some(job) = JOBS.with_borrow(|jobs| jobs.get(&key).copied()) {
        // SAFETY: a job takes itself out of the map before it goes.
        f(unsafe { &*job });
    }
}

/// `resume`, for Python.
pub struct Resume(pub Arc<Ticket>);

impl Class for Resume {
    const NAME: &'static CStr = c"ngx_wsgi.native.Resume";
    const DOC: &'static CStr = c"Lets a suspended request go on.";

    fn methods(methods: &mut Methods<Self>) {
        methods.add::<Call>();
    }
}

/// The call.
pub struct Call;

impl Method<Resume> for Call {
    const NAME: &'static CStr = c"resume";
    const DOC: &'static CStr = c"resume() -> bool\n\nLets the request go on, soon; the application is not \
        called from here. In any thread.\n\nReturns whether it is this call that lets it go on: False if it has \
        been resumed, its time is over, or it has ended.";

    fn call<'py>(
        this: &Instance<'py, Resume>,
        args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if !args.is_empty() {
            return Err(PyTypeError::new_err("resume() takes no arguments"));
        }
        Ok(PyBool::new(this.py(), this.get().0.resume()).to_owned().into_any())
    }
}
