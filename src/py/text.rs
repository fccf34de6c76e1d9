//! PEP 3333's "native strings": `str` objects whose characters are bytes (Latin-1).

use pyo3::prelude::*;
use pyo3::types::string::PyStringData;
use pyo3::types::{PyString, PyStringMethods};

use pyo3::ffi;

/// A `str` of the bytes `data`, each byte one character.
pub fn latin1<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyString>> {
    // SAFETY: the pointer and the length are those of a slice; the result is a new reference to a str
    // or null with an exception set.
    unsafe {
        let object = ffi::PyUnicode_DecodeLatin1(
            data.as_ptr().cast(),
            data.len() as ffi::Py_ssize_t,
            core::ptr::null(),
        );
        Ok(Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked())
    }
}

/// The bytes of `text`, or `None` if it holds a character above U+00FF.
pub fn latin1_bytes<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Option<&'a [u8]>> {
    // SAFETY: the canonical representation of a str does not change while the str lives, and `text`
    // keeps it alive for 'a.
    let data = unsafe { text.data()? };
    Ok(match data {
        PyStringData::Ucs1(bytes) => Some(bytes),
        // A str object is always stored in the narrowest form, so a wider one holds such a character.
        _ => None,
    })
}
