//! PEP 3333's "native strings": `str` objects whose characters are bytes (Latin-1).

use core::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// A `str` of the bytes `data`, each byte one character.
pub fn latin1<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let length = data.len() as ffi::Py_ssize_t;
    // SAFETY: attached; the pointer and the length are those of a slice. A new str of ASCII characters has as
    // many bytes of its own, which nobody has seen yet. The result is a new reference to a str or null with an
    // exception set.
    unsafe {
        // CPython shares the shortest ones, and looks slowly for the widest character of the others.
        let object = if data.len() > 1 && data.is_ascii() {
            let object = ffi::PyUnicode_New(length, 0x7f);
            if !object.is_null() {
                ptr::copy_nonoverlapping(
                    data.as_ptr(),
                    ffi::PyUnicode_DATA(object).cast(),
                    data.len(),
                );
            }
            object
        } else {
            ffi::PyUnicode_DecodeLatin1(data.as_ptr().cast(), length, ptr::null())
        };
        Ok(Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked())
    }
}

/// The bytes of `text`, or `None` if it holds a character above U+00FF.
pub fn latin1_bytes<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Option<&'a [u8]>> {
    let object = text.as_ptr();
    // SAFETY: attached, `object` is a str, and its kind is asked for once it is in its canonical form. That does
    // not change while the str lives, and `text` keeps it alive for 'a.
    unsafe {
        if ffi::PyUnicode_READY(object) != 0 {
            return Err(PyErr::fetch(text.py()));
        }
        // It is the narrowest form, so a wider one holds such a character.
        Ok((ffi::PyUnicode_KIND(object) == ffi::PyUnicode_1BYTE_KIND).then(|| {
            let length = ffi::PyUnicode_GET_LENGTH(object) as usize;
            core::slice::from_raw_parts(ffi::PyUnicode_DATA(object).cast(), length)
        }))
    }
}
