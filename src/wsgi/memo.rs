//! The string that was made last for a value that is mostly the same from request to request.

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::py::{Guarded, latin1, latin1_bytes};

/// What is longer is seldom the same, and not worth to be kept, in bytes.
const LONGEST: usize = 256;

/// The last value of a key in environ, as a `str`.
#[derive(Default)]
pub struct Memo(Guarded<Option<Py<PyString>>>);

impl Memo {
    /// The string of `value`: the last one, if it is the same, or a new one.
    pub fn text<'py>(&self, py: Python<'py>, value: &[u8]) -> PyResult<Bound<'py, PyString>> {
        let last = self.0.with(py, |last| {
            let last = last.as_ref()?.bind(py);
            matches!(latin1_bytes(last), Ok(Some(bytes)) if bytes == value).then(|| last.clone())
        });
        if let Some(last) = last {
            return Ok(last);
        }
        let new = latin1(py, value)?;
        if value.len() <= LONGEST {
            drop(self.0.replace(py, Some(new.clone().unbind())));
        }
        Ok(new)
    }
}
