//! What PyO3 does not offer of dictionaries.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// Sets `dict[key]`.
pub fn set<T>(dict: &Bound<'_, PyDict>, key: &Py<PyString>, value: &Bound<'_, T>) -> PyResult<()> {
    // SAFETY: attached, the arguments are valid objects.
    match unsafe { ffi::PyDict_SetItem(dict.as_ptr(), key.as_ptr(), value.as_ptr()) } {
        0 => Ok(()),
        _ => Err(PyErr::fetch(dict.py())),
    }
}

/// Sets `dict[key]` unless it is set, with one look-up; returns the value that was there.
pub fn set_default<'py>(
    dict: &Bound<'py, PyDict>,
    key: &Bound<'py, PyString>,
    value: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    // SAFETY: attached, the arguments are valid objects, and the number of entries is where the layout of a
    // dictionary has it; the result is a borrowed reference to the value now in the dictionary, or null with an
    // exception set.
    unsafe {
        let entries = &raw const (*dict.as_ptr().cast::<ffi::PyDictObject>()).ma_used;
        let before = entries.read();
        let current = ffi::PyDict_SetDefault(dict.as_ptr(), key.as_ptr(), value.as_ptr());
        if current.is_null() {
            return Err(PyErr::fetch(dict.py()));
        }
        // What was there may be the very same object: a string of one character, or one that is kept.
        let inserted = entries.read() > before;
        Ok((!inserted).then(|| Bound::from_borrowed_ptr(dict.py(), current)))
    }
}

/// What changes with every change of `dict`, and never back (PEP 509); `None` where Python keeps no such thing, as from 3.14 on (PEP 699).
pub fn version(dict: &Bound<'_, PyDict>) -> Option<u64> {
    #[cfg(not(Py_3_14))]
    {
        let dict = dict.as_ptr().cast::<ffi::PyDictObject>();
        // SAFETY: the layout of a live dictionary, read under the GIL.
        #[allow(deprecated, reason = "not to be used outside CPython, which means from 3.14 on")]
        Some(unsafe { (*dict).ma_version_tag })
    }
    #[cfg(Py_3_14)]
    {
        let _ = dict;
        None
    }
}
