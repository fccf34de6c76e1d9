//! A block that stays the application's own `bytes` object while nginx sends it.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::block::Block;

/// A reference to a `bytes` object. To be dropped while attached to the interpreter.
pub struct PyBlock {
    data: *const u8,
    len: usize,
    _owner: Py<PyBytes>,
}

impl PyBlock {
    /// Takes a reference to `bytes`.
    pub fn new(bytes: &Bound<'_, PyBytes>) -> Self {
        let slice = bytes.as_bytes();
        Self { data: slice.as_ptr(), len: slice.len(), _owner: bytes.clone().unbind() }
    }

    /// The block without what follows the first `len` bytes.
    pub fn truncated(mut self, len: usize) -> Self {
        self.len = self.len.min(len);
        self
    }
}

// SAFETY: a bytes object is immutable and never moves; `_owner` keeps it alive.
unsafe impl Block for PyBlock {
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: `data` and `len` describe the buffer of the object that `_owner` keeps alive.
        unsafe { core::slice::from_raw_parts(self.data, self.len) }
    }
}
