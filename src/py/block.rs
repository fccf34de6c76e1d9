//! A block that stays the application's own `bytes` object while nginx sends it, or a copy of small ones.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::block::Block;

/// The bytes of one item that an application yielded.
pub struct PyBlock {
    data: *const u8,
    len: usize,
    owner: Owner,
}

enum Owner {
    /// To be dropped while attached to the interpreter.
    Python(#[allow(dead_code)] Py<PyBytes>),
    /// May be dropped anywhere.
    Rust(#[allow(dead_code)] Box<[u8]>),
}

// SAFETY: a bytes object is immutable and never moves, and neither does the memory of a box; the owner may
// be moved to another thread, and where it may be dropped is said above.
unsafe impl Send for PyBlock {}

impl PyBlock {
    /// Takes a reference to `bytes`.
    pub fn new(bytes: &Bound<'_, PyBytes>) -> Self {
        let slice = bytes.as_bytes();
        let owner = Owner::Python(bytes.clone().unbind());
        Self { data: slice.as_ptr(), len: slice.len(), owner }
    }

    /// A copy of these blocks, one after the other.
    pub fn join(blocks: &[Self]) -> Self {
        let mut bytes = Vec::with_capacity(blocks.iter().map(|block| block.len).sum());
        blocks.iter().for_each(|block| bytes.extend_from_slice(block.as_bytes()));
        Self::own(bytes.into())
    }

    /// A copy of these bytes, which needs no interpreter.
    pub fn copy(bytes: &[u8]) -> Self {
        Self::own(bytes.into())
    }

    fn own(bytes: Box<[u8]>) -> Self {
        Self { data: bytes.as_ptr(), len: bytes.len(), owner: Owner::Rust(bytes) }
    }

    /// Whether it is to be dropped while attached.
    pub fn needs_python(&self) -> bool {
        matches!(self.owner, Owner::Python(_))
    }

    /// The block without what follows the first `len` bytes.
    pub fn truncated(mut self, len: usize) -> Self {
        self.len = self.len.min(len);
        self
    }
}

// SAFETY: `owner` keeps the memory alive, which neither moves nor changes.
unsafe impl Block for PyBlock {
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: `data` and `len` describe memory that the owner keeps alive.
        unsafe { core::slice::from_raw_parts(self.data, self.len) }
    }
}
