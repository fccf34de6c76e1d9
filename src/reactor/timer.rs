//! Timers: `native.timer`.
//!
//! What Python holds is a key; the reactor holds the function, until it is called or the timer cancelled.

use core::ffi::CStr;

use nginx_sys::ngx_msec_t;
use pyo3::Borrowed;
use pyo3::prelude::*;

use crate::nginx::{Alarm, event};
use crate::py::{Class, Instance, Method, Methods};

use super::turn::What;
use super::{Callback, Reactor};

/// A timer that runs.
pub struct Pending {
    _alarm: Box<Alarm<Box<dyn Fn()>>>,
    callback: Callback,
}

/// What Python has of it.
pub struct Timer {
    key: u64,
}

impl Timer {
    /// Has `callback()` called once, in so many milliseconds.
    pub fn new(milliseconds: ngx_msec_t, callback: Callback) -> PyResult<Self> {
        Reactor::with(|reactor| {
            let (key, interpreter) = (reactor.key(), callback.interpreter);
            let note = move || {
                Reactor::try_with(|reactor| reactor.note(interpreter, What::Due(key)));
            };
            let alarm = Alarm::owned(Box::new(note) as Box<dyn Fn()>);
            // nginx's clock stands still while Python runs.
            event::update_time();
            alarm.set(milliseconds);
            reactor.timers.borrow_mut().insert(key, Pending { _alarm: alarm, callback });
            Ok(Self { key })
        })
    }
}

/// Calls the function of a timer whose time is over, unless it has been cancelled since.
pub fn due(py: Python<'_>, key: u64) {
    if let Some(Pending { callback, .. }) = take(key) {
        let result = callback.function.call0(py);
        callback.done(py, result);
    }
}

fn take(key: u64) -> Option<Pending> {
    Reactor::try_with(|reactor| reactor.timers.borrow_mut().remove(&key)).flatten()
}

impl Class for Timer {
    const NAME: &'static CStr = c"ngx_wsgi.native.Timer";
    const DOC: &'static CStr = c"A timer of nginx's event loop.";

    fn methods(methods: &mut Methods<Self>) {
        methods.add::<Cancel>();
    }
}

struct Cancel;

impl Method<Timer> for Cancel {
    const NAME: &'static CStr = c"cancel";
    const DOC: &'static CStr = c"cancel()\n\nIt is not called any more. May be called again.";

    fn call<'py>(
        this: &Instance<'py, Timer>,
        _args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Reactor::with(|_| Ok(()))?;
        drop(take(this.get().key));
        Ok(this.py().None().into_bound(this.py()))
    }
}
