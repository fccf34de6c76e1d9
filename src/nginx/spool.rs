//! Bytes that wait for their turn: in memory up to `wsgi_write_buffer_size`, then in a temporary file.
//!
//! What an application writes with `write()`: with `wsgi_write_buffering`, over HTTP/2 and HTTP/3, whose
//! socket must not be waited for, and in a subrequest whose turn has not come. One per request at most;
//! its file has no name, is used again once nginx has sent what was in it, and is closed with the
//! request's pool.

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;

use nginx_sys::{ngx_create_temp_file, ngx_file_t, ngx_http_request_t, ngx_path_t};

use super::log::Level;
use super::request::Request;

use super::pool;

/// The spooled bytes of one request.
pub struct Spool {
    r: *mut ngx_http_request_t,
    path: *mut ngx_path_t,
    /// How many bytes may stay in memory.
    limit: usize,
    file: Option<*mut ngx_file_t>,
    /// How much of the file is used, and how much of that nginx has been given.
    written: u64,
    given: u64,
    /// Bytes that come after those in the file.
    memory: Vec<u8>,
    /// What nginx has been given out of memory.
    lent: Vec<Vec<u8>>,
    /// Bytes are missing since this error of the system.
    failed: Option<i32>,
}

impl Spool {
    /// An empty spool whose file, if one is needed, is made in `path`.
    ///
    /// # Safety
    /// `r` must be alive as long as the spool, and `path` a path of its configuration. What `take_file` and
    /// `take_memory` return must not be used after `rewind` or the drop.
    pub unsafe fn new(
        r: *mut ngx_http_request_t,
        path: *mut ngx_path_t,
        limit: Option<usize>,
    ) -> Self {
        let limit = limit.unwrap_or_else(pool::page_size);
        let (memory, lent) = (Vec::new(), Vec::new());
        Self { r, path, limit, file: None, written: 0, given: 0, memory, lent, failed: None }
    }

    /// Whether there is nothing to be given to nginx.
    pub fn is_empty(&self) -> bool {
        self.memory.is_empty() && self.written == self.given
    }

    /// How many bytes are to be given to nginx.
    pub fn length(&self) -> u64 {
        self.memory.len() as u64 + self.written - self.given
    }

    /// Whether bytes are missing.
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Drops what nginx has not been given.
    pub fn discard(&mut self) {
        self.failed = None;
        self.memory.clear();
        self.written = self.given;
    }

    /// Everything that nginx was given has been sent: file and memory can be used again.
    pub fn rewind(&mut self) {
        self.lent.clear();
        if self.written == self.given {
            self.written = 0;
            self.given = 0;
        }
    }

    /// The file, offset and length of what is new in it.
    pub(super) fn take_file(&mut self) -> Option<(*mut ngx_file_t, u64, u64)> {
        let (offset, length) = (self.given, self.written - self.given);
        self.given = self.written;
        self.file.filter(|_| length > 0).map(|file| (file, offset, length))
    }

    /// What is new in memory; it comes after the file.
    pub(super) fn take_memory(&mut self) -> Option<&[u8]> {
        if self.memory.is_empty() {
            return None;
        }
        self.lent.push(core::mem::take(&mut self.memory));
        self.lent.last().map(Vec::as_slice)
    }

    /// Adds bytes. What fails is logged, and nothing is added any more.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(code) = self.failed {
            return Err(io::Error::from_raw_os_error(code));
        }
        if self.memory.len() + bytes.len() <= self.limit {
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        self.append_to_file(bytes).inspect_err(|error| {
            self.failed = Some(error.raw_os_error().unwrap_or(libc::EIO));
        })
    }

    fn append_to_file(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(self.create()?);
        }
        let memory = core::mem::take(&mut self.memory);
        self.write(&memory).and_then(|()| self.write(bytes)).inspect_err(|error| {
            let (code, text) = (error.raw_os_error().unwrap_or_default(), os_error_text(error));
            let name = self.file_name().unwrap_or_default();
            // SAFETY: the request is live by the contract of `new`.
            let log = unsafe { Request::from_ptr(self.r) }.log();
            log.write(Level::Error, format!("wsgi: pwrite() \"{name}\" failed ({code}: {text})"));
        })?;
        // Its memory again, for the next ones.
        self.memory = memory;
        self.memory.clear();
        Ok(())
    }

    /// The path that the temporary file had when it was made.
    pub fn file_name(&self) -> Option<String> {
        // SAFETY: the file is in the request's pool, and so is its name.
        self.file.map(|file| unsafe { (*file).name.to_string() })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = self.file else { return Ok(()) };
        // SAFETY: the descriptor is open until the request's pool is destroyed; ManuallyDrop keeps it so.
        let file = unsafe { ManuallyDrop::new(File::from_raw_fd((*file).fd)) };
        file.write_all_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn create(&self) -> io::Result<*mut ngx_file_t> {
        // SAFETY: request, pool and path are valid by the contract of `new`; nginx logs what fails, and
        // closes the file with the pool (`clean`).
        unsafe {
            let Some(file) = pool::zeroed::<ngx_file_t>((*self.r).pool) else {
                return Err(io::ErrorKind::OutOfMemory.into());
            };
            let file = file.as_ptr();
            (*file).fd = -1;
            (*file).log = (*(*self.r).connection).log;
            let (persistent, clean, access) = (0, 1, 0);
            let rc =
                ngx_create_temp_file(file, self.path, (*self.r).pool, persistent, clean, access);
            if rc != super::OK {
                return Err(io::Error::last_os_error());
            }
            Ok(file)
        }
    }
}

/// The system's words for an error, without Rust's addition.
pub fn os_error_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
