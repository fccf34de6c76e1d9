//! A `bytes` object that is being filled.
//!
//! Made for bytes that are about to be read, whose number is known; nobody else has the object before it is
//! finished. PyO3's own way to do this writes zeros first, which costs as much as the bytes themselves.

use core::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// A `bytes` object whose first bytes are there.
pub struct Filling<'py> {
    object: Bound<'py, PyBytes>,
    filled: usize,
    size: usize,
}

impl<'py> Filling<'py> {
    /// An object for `size` bytes.
    ///
    /// # Errors
    /// `MemoryError`, `OverflowError`
    pub fn new(py: Python<'py>, size: usize) -> PyResult<Self> {
        let length = ffi::Py_ssize_t::try_from(size)?;
        // SAFETY: without bytes to copy CPython makes an object of that size, whose bytes are to be written
        // before anybody reads them: `finish` sees to it. It is a new one; that without any is not written to.
        let object = unsafe {
            let object = ffi::PyBytes_FromStringAndSize(ptr::null(), length);
            Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked()
        };
        Ok(Self { object, filled: 0, size })
    }

    /// How many bytes are missing.
    pub fn room(&self) -> usize {
        self.size - self.filled
    }

    /// Adds as many of `bytes` as there is room for, and says how many.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let amount = bytes.len().min(self.room());
        // SAFETY: there is room for them, in an object that is ours alone.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.end(), amount) };
        self.filled += amount;
        amount
    }

    /// All that are missing, zeros for now.
    pub fn rest(&mut self) -> &mut [u8] {
        let (end, room) = (self.end(), self.room());
        self.filled = self.size;
        // SAFETY: as in `append`; zeros are bytes, and `self` is borrowed as long as they are.
        unsafe {
            ptr::write_bytes(end, 0, room);
            core::slice::from_raw_parts_mut(end, room)
        }
    }

    /// The object, complete.
    pub fn finish(mut self) -> Bound<'py, PyBytes> {
        self.rest();
        self.object
    }

    fn end(&self) -> *mut u8 {
        // SAFETY: the bytes of the object; no more of them are filled than there are.
        unsafe { ffi::PyBytes_AsString(self.object.as_ptr()).cast::<u8>().add(self.filled) }
    }
}
