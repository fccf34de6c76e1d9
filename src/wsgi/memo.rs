//! The string that was made last for a value that is often the same from request to request.

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::py::{Guarded, latin1, latin1_bytes};

/// The last value of a key in environ, as a `str`.
#[derive(Default)]
pub struct Memo(Guarded<Option<Py<PyString>>>);

impl Memo {
    /// The last string, if it is that of `value`.
    pub fn last<'py>(&self, py: Python<'py>, value: &[u8]) -> Option<Bound<'py, PyString>> {
        self.0.with(py, |last| {
            let last = last.as_ref()?.bind(py);
            matches!(latin1_bytes(last), Ok(Some(bytes)) if bytes == value).then(|| last.clone())
        })
    }

    /// A new string of `value`, which is the last one from now on.
    pub fn renew<'py>(&self, py: Python<'py>, value: &[u8]) -> PyResult<Bound<'py, PyString>> {
        let new = latin1(py, value)?;
        drop(self.0.replace(py, Some(new.clone().unbind())));
        Ok(new)
    }
}
