//! A value that is shared by threads and changed under the GIL.

use core::cell::RefCell;

use pyo3::Python;

/// A cell for whoever is attached. All interpreters of the process share one GIL, so only one thread at a
/// time is.
#[derive(Default)]
pub struct Guarded<T>(RefCell<T>);

// SAFETY: every access asks for proof of being attached, and one thread at a time is.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    /// A cell with this value.
    pub fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    /// What `f` says of the value. `f` must not give the GIL up.
    pub fn with<R>(&self, _py: Python<'_>, f: impl FnOnce(&T) -> R) -> R {
        f(&self.0.borrow())
    }

    /// What `f` says of the value that it changes. `f` must neither give the GIL up nor come back here.
    pub fn with_mut<R>(&self, _py: Python<'_>, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.borrow_mut())
    }

    /// Puts another value in place and returns the one before, whose destructors may come back here.
    #[must_use]
    pub fn replace(&self, _py: Python<'_>, value: T) -> T {
        self.0.replace(value)
    }
}
