//! One `contextvars.Context` per request, entered for every slice.
//!
//! An inline worker interleaves requests in one thread. Without a context of its own a request would
//! see, after each pause, the context variables of whichever request ran in between.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;

/// A Python context object. To be dropped while attached.
pub struct Context(Py<PyAny>);

impl Context {
    /// An object that is a context.
    ///
    /// # Errors
    /// `TypeError` if it is none.
    pub fn new(object: Bound<'_, PyAny>) -> PyResult<Self> {
        // SAFETY: attached; looks at the object's type.
        if unsafe { ffi::PyContext_CheckExact(object.as_ptr()) } == 0 {
            let kind = object.get_type().qualname()?;
            return Err(PyTypeError::new_err(format!(
                "a contextvars.Context is expected, not {kind}"
            )));
        }
        Ok(Self(object.unbind()))
    }

    /// A copy of the current context: what modules set while they were imported is seen.
    pub fn copy_current(py: Python<'_>) -> PyResult<Self> {
        // SAFETY: attached; the result is a new reference or null with an exception set.
        let context = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent())? };
        Ok(Self(context.unbind()))
    }

    /// Runs `f` in this context.
    ///
    /// # Errors
    /// `RuntimeError` if the context is entered already, that is if a slice runs inside a slice.
    pub fn run<R>(&self, py: Python<'_>, f: impl FnOnce() -> R) -> PyResult<R> {
        struct Exit<'a>(&'a Context);
        impl Drop for Exit<'_> {
            fn drop(&mut self) {
                // SAFETY: attached (`run` borrows a token for longer than this guard lives), and the
                // context was entered by `run`. A failure means that the application left another
                // context entered; clearing the error is all that can be done.
                unsafe {
                    if ffi::PyContext_Exit(self.0.0.as_ptr()) != 0 {
                        ffi::PyErr_Clear();
                    }
                }
            }
        }
        // SAFETY: attached, and the object is a context.
        if unsafe { ffi::PyContext_Enter(self.0.as_ptr()) } != 0 {
            return Err(PyErr::fetch(py));
        }
        let _exit = Exit(self);
        Ok(f())
    }
}
