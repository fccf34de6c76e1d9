//! Watched descriptors: `native.watch`.
//!
//! What Python holds is a key; the reactor holds the function, until the watch is cancelled.

use core::cell::Cell;
use core::ffi::CStr;
use std::io;
use std::os::fd::RawFd;

use pyo3::Borrowed;
use pyo3::exceptions::{PyOSError, PyPermissionError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::nginx::{Descriptor, Direction};
use crate::py::{Class, Instance, Method, Methods};

use super::turn::What;
use super::{Callback, Reactor};

/// Flags for Python, the same as in the `ngx.poll` of 2008.
pub const READ: u8 = 1;
pub const WRITE: u8 = 4;

/// A descriptor that is watched.
pub struct Watched {
    descriptor: Box<Descriptor>,
    flags: Cell<u8>,
    callback: Callback,
}

/// What Python has of it.
pub struct Watch {
    key: u64,
}

impl Watch {
    /// Has `callback(flags)` called whenever the descriptor is ready.
    ///
    /// # Errors
    /// `OSError`: it cannot be watched. `ValueError`: the flags make no sense.
    pub fn new(fd: RawFd, flags: u8, callback: Callback) -> PyResult<Self> {
        check(flags)?;
        let refused = |error| refusal(fd, &error);
        Reactor::with(|reactor| {
            let (key, interpreter) = (reactor.key(), callback.interpreter);
            let note = move |direction| {
                let flag = if direction == Direction::Read { READ } else { WRITE };
                Reactor::try_with(|reactor| reactor.note(interpreter, What::Ready(key, flag)));
            };
            let descriptor = Descriptor::new(fd, Box::new(note));
            let watched =
                Watched { descriptor: descriptor.map_err(refused)?, flags: Cell::new(0), callback };
            watched.set(flags).map_err(refused)?;
            reactor.watches.borrow_mut().insert(key, watched);
            Ok(Self { key })
        })
    }
}

fn check(flags: u8) -> PyResult<()> {
    if flags == 0 || flags & !(READ | WRITE) != 0 {
        let text = format!("flags must be {READ} (read), {WRITE} (write) or both, not {flags}");
        return Err(PyValueError::new_err(text));
    }
    Ok(())
}

impl Watched {
    fn set(&self, flags: u8) -> io::Result<()> {
        self.flags.set(flags);
        self.descriptor.watch(Direction::Read, flags & READ != 0)?;
        self.descriptor.watch(Direction::Write, flags & WRITE != 0)
    }
}

fn refusal(fd: RawFd, error: &io::Error) -> PyErr {
    let code = error.raw_os_error().unwrap_or(libc::EIO);
    match code {
        libc::EPERM => PyPermissionError::new_err((
            code,
            format!(
                "descriptor {fd} is a regular file or a device that is always ready: there is nothing to wait for"
            ),
        )),
        libc::ENOBUFS => PyOSError::new_err((
            code,
            format!("\"worker_connections\" are not enough to watch descriptor {fd}"),
        )),
        _ => PyOSError::new_err((code, format!("cannot watch descriptor {fd}: {error}"))),
    }
}

/// Calls the function for a descriptor that is ready, unless that is not waited for any more. Flags of 0 say
/// that the owner has closed it.
pub fn ready(py: Python<'_>, key: u64, fired: u8) {
    let found = Reactor::try_with(|reactor| {
        let watches = reactor.watches.borrow();
        let watched = watches.get(&key)?;
        let is_open = watched.descriptor.is_open();
        Some((is_open, fired & watched.flags.get(), watched.callback.clone_ref(py)))
    });
    let Some((is_open, fired, callback)) = found.flatten() else { return };
    let fired = if is_open { fired } else { 0 };
    if !is_open {
        // Otherwise it could be reported for ever.
        cancel(py, key);
    } else if fired == 0 {
        return;
    }
    let result = callback.function.call1(py, (fired,));
    callback.done(py, result);
}

fn cancel(_py: Python<'_>, key: u64) {
    // Dropped last: that may run Python, which may come back.
    let _watched = Reactor::try_with(|reactor| reactor.watches.borrow_mut().remove(&key));
}

impl Class for Watch {
    const NAME: &'static CStr = c"ngx_wsgi.native.Watch";
    const DOC: &'static CStr = c"A descriptor in nginx's event loop.";

    fn methods(methods: &mut Methods<Self>) {
        methods.add::<Set>().add::<Cancel>();
    }
}

struct Set;

impl Method<Watch> for Set {
    const NAME: &'static CStr = c"set";
    const DOC: &'static CStr =
        c"set(flags: int)\n\nChanges what is waited for; 0 cancels.\n\nRaises \
        RuntimeError if it has been cancelled.";

    fn call<'py>(
        this: &Instance<'py, Watch>,
        args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, key) = (this.py(), this.get().key);
        let [flags] = args else { return Err(PyTypeError::new_err("set() takes the flags")) };
        let flags: u8 = flags.extract()?;
        if flags == 0 {
            return Cancel::call(this, &[], None);
        }
        check(flags)?;
        Reactor::with(|reactor| match reactor.watches.borrow().get(&key) {
            Some(watched) if watched.descriptor.is_open() => Ok(watched.set(flags)?),
            // By this number there may be another file now.
            Some(_) => Err(PyRuntimeError::new_err("the descriptor has been closed")),
            None => Err(PyRuntimeError::new_err("the watch has been cancelled")),
        })?;
        Ok(py.None().into_bound(py))
    }
}

struct Cancel;

impl Method<Watch> for Cancel {
    const NAME: &'static CStr = c"cancel";
    const DOC: &'static CStr = c"cancel()\n\nNothing is called any more. May be called again.";

    fn call<'py>(
        this: &Instance<'py, Watch>,
        _args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Reactor::with(|_| Ok(()))?;
        cancel(this.py(), this.get().key);
        Ok(this.py().None().into_bound(this.py()))
    }
}
