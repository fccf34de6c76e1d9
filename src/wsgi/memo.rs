//! The string that was made last for a value that is often the same from request to request.

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::py::{Guarded, latin1_bytes};

/// The last value of a key in environ, as a `str`.
#[derive(Default)]
pub struct Memo(Guarded<Option<Py<PyString>>>);

impl Memo {
    /// Whether the last string is that of `value`.
    pub fn is(&self, py: Python<'_>, value: &[u8]) -> bool {
        self.0.with(py, |last| last.as_ref().is_some_and(|last| has(last.bind(py), value)))
    }

    /// The last string, if it is that of `value`.
    pub fn last<'py>(&self, py: Python<'py>, value: &[u8]) -> Option<Bound<'py, PyString>> {
        self.0.with(py, |last| {
            let last = last.as_ref()?.bind(py);
            has(last, value).then(|| last.clone())
        })
    }

    /// This string is the last one from now on.
    pub fn keep(&self, text: &Bound<'_, PyString>) {
        drop(self.0.replace(text.py(), Some(text.clone().unbind())));
    }
}

/// Whether `text` is the string of `value`.
#[inline]
pub fn has(text: &Bound<'_, PyString>, value: &[u8]) -> bool {
    matches!(latin1_bytes(text), Ok(Some(bytes)) if bytes == value)
}
