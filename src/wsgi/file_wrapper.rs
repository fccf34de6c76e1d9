//! `wsgi.file_wrapper`: a file that nginx may send by itself.
//!
//! An instance returned by the application is sent by nginx if it wraps a regular file; in every other
//! case, and when middleware iterates over it, it reads blocks.

use core::ffi::CStr;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::py::{Class, Instance, Method, Methods};

/// PEP 3333 leaves the size to the server; this is that of wsgiref and of Django.
const BLOCK_SIZE: usize = 8192;

/// The value of a file wrapper.
pub struct FileWrapper {
    file: Py<PyAny>,
    block_size: Py<PyAny>,
}

/// An open file and the position from which it is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRange {
    /// The descriptor, open until the wrapper is closed.
    pub fd: i32,
    /// Where to begin, in bytes.
    pub offset: u64,
}

impl FileWrapper {
    /// What nginx would have to send, if reading the file object gives just the bytes of the file: that
    /// is known of the classes of `io` only. A `GzipFile`, or a text file, has a descriptor too.
    pub fn range(&self, py: Python<'_>) -> PyResult<Option<FileRange>> {
        let file = self.file.bind(py);
        let io = py.import("io")?;
        let is_exactly = |object: &Bound<'_, PyAny>, name: &str| -> PyResult<bool> {
            Ok(object.get_type().is(io.getattr(name)?))
        };
        let plain = is_exactly(file, "FileIO")?
            || ((is_exactly(file, "BufferedReader")? || is_exactly(file, "BufferedRandom")?)
                && is_exactly(&file.getattr("raw")?, "FileIO")?);
        // A pipe cannot tell where it is.
        if !plain || !file.call_method0("seekable")?.is_truthy()? {
            return Ok(None);
        }
        // Buffered bytes have been taken from the descriptor already, so its own offset is no help.
        let offset = file.call_method0("tell")?.extract()?;
        Ok(Some(FileRange { fd: file.call_method0("fileno")?.extract()?, offset }))
    }
}

impl Class for FileWrapper {
    const NAME: &'static CStr = c"ngx_wsgi.FileWrapper";
    const DOC: &'static CStr = c"FileWrapper(file, block_size=8192)\n\n\
        wsgi.file_wrapper of PEP 3333: an iterable over the rest of a file, which nginx sends by itself \
        if the application returns it and the file is a regular one.";
    const ITERATOR: bool = true;

    fn methods(methods: &mut Methods<Self>) {
        methods.add::<Close>();
    }

    fn construct(args: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let py = args.py();
        let (file, block_size) = match args.len() {
            1 => (args.get_item(0)?, BLOCK_SIZE.into_pyobject(py)?.into_any()),
            2 => (args.get_item(0)?, args.get_item(1)?),
            _ => {
                return Err(PyTypeError::new_err(
                    "FileWrapper() takes a file and optionally a block size",
                ));
            }
        };
        if !file.hasattr("read")? {
            return Err(PyTypeError::new_err("FileWrapper() argument has no read() method"));
        }
        Ok(Self { file: file.unbind(), block_size: block_size.unbind() })
    }

    fn next<'py>(this: &Instance<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = this.py();
        let wrapper = this.get();
        let data = wrapper.file.bind(py).call_method1("read", (&wrapper.block_size,))?;
        Ok(data.is_truthy()?.then_some(data))
    }
}

struct Close;

impl Method<FileWrapper> for Close {
    const NAME: &'static CStr = c"close";
    const DOC: &'static CStr = c"close() -> None\n\nCloses the file, if it can be closed.";

    fn call<'py>(
        this: &Instance<'py, FileWrapper>,
        _args: &[pyo3::Borrowed<'_, 'py, PyAny>],
        _keyword: Option<pyo3::Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        match this.get().file.bind(py).getattr_opt("close")? {
            Some(close) => close.call0(),
            None => Ok(py.None().into_bound(py)),
        }
    }
}
