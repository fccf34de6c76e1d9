//! `wsgi.file_wrapper`: a file that nginx may send by itself.
//!
//! The class is Python (python/ngx_wsgi/files.py): an instance returned by the application is sent by nginx
//! if it wraps a plain file; in every other case, and when middleware iterates over it, it reads blocks.

use pyo3::prelude::*;
use pyo3::types::PyModule;

/// The class and the question what of its instances can be sent. One per interpreter.
pub struct Files {
    wrapper: Py<PyAny>,
    sendable: Py<PyAny>,
}

/// An open file and the position from which it is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRange {
    /// The descriptor, open until the wrapper is closed.
    pub fd: i32,
    /// Where to begin, in bytes.
    pub offset: u64,
}

impl Files {
    /// Finds both in the package.
    pub fn new(py: Python<'_>) -> PyResult<Self> {
        let files = PyModule::import(py, "ngx_wsgi.files")?;
        Ok(Self {
            wrapper: files.getattr("FileWrapper")?.unbind(),
            sendable: files.getattr("sendable")?.unbind(),
        })
    }

    /// The class.
    pub fn wrapper(&self) -> &Py<PyAny> {
        &self.wrapper
    }

    /// What nginx would have to send, if `object` is exactly a file wrapper around a plain file.
    pub fn range(&self, object: &Bound<'_, PyAny>) -> PyResult<Option<FileRange>> {
        if !object.get_type().is(&self.wrapper) {
            return Ok(None);
        }
        let range: Option<(i32, u64)> =
            self.sendable.bind(object.py()).call1((object,))?.extract()?;
        Ok(range.map(|(fd, offset)| FileRange { fd, offset }))
    }
}
