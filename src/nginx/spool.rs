//! Bytes that wait for their turn: in memory up to a page, then in a temporary file.
//!
//! What an application writes with `write()` over HTTP/2 and HTTP/3, whose socket must not be waited for,
//! and in a subrequest whose turn has not come. One per request at most; its file has no name, is used
//! again once nginx has sent what was in it, and is closed with the request's pool.

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;

use nginx_sys::{ngx_create_temp_file, ngx_file_t, ngx_http_request_t, ngx_pagesize, ngx_path_t};

use super::pool;

/// The spooled bytes of one request.
pub struct Spool {
    r: *mut ngx_http_request_t,
    path: *mut ngx_path_t,
    fd: Option<i32>,
    /// How much of the file is used, and how much of that nginx has been given.
    written: u64,
    given: u64,
    /// Bytes that come after those in the file.
    memory: Vec<u8>,
    /// What nginx has been given out of memory.
    lent: Vec<Vec<u8>>,
}

impl Spool {
    /// An empty spool whose file, if one is needed, is made in `path`.
    ///
    /// # Safety
    /// `r` must be alive as long as the spool, and `path` a path of its configuration. What `take_file` and
    /// `take_memory` return must not be used after `rewind` or the drop.
    pub unsafe fn new(r: *mut ngx_http_request_t, path: *mut ngx_path_t) -> Self {
        Self { r, path, fd: None, written: 0, given: 0, memory: Vec::new(), lent: Vec::new() }
    }

    /// Whether there is nothing to be given to nginx.
    pub fn is_empty(&self) -> bool {
        self.memory.is_empty() && self.written == self.given
    }

    /// Everything that nginx was given has been sent: file and memory can be used again.
    pub fn rewind(&mut self) {
        self.lent.clear();
        if self.written == self.given {
            self.written = 0;
            self.given = 0;
        }
    }

    /// Descriptor, offset and length of what is new in the file.
    pub(super) fn take_file(&mut self) -> Option<(i32, u64, u64)> {
        let (offset, length) = (self.given, self.written - self.given);
        self.given = self.written;
        self.fd.filter(|_| length > 0).map(|fd| (fd, offset, length))
    }

    /// What is new in memory; it comes after the file.
    pub(super) fn take_memory(&mut self) -> Option<&[u8]> {
        if self.memory.is_empty() {
            return None;
        }
        self.lent.push(core::mem::take(&mut self.memory));
        self.lent.last().map(Vec::as_slice)
    }

    /// Adds bytes.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        // SAFETY: set when nginx starts.
        let limit = unsafe { ngx_pagesize };
        if self.memory.len() + bytes.len() <= limit {
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        let fd = match self.fd {
            Some(fd) => fd,
            None => self.create()?,
        };
        self.fd = Some(fd);
        // SAFETY: the descriptor is open until the request's pool is destroyed; ManuallyDrop keeps it so.
        let file = unsafe { ManuallyDrop::new(File::from_raw_fd(fd)) };
        for part in [&self.memory, bytes] {
            file.write_all_at(part, self.written)?;
            self.written += part.len() as u64;
        }
        self.memory.clear();
        Ok(())
    }

    fn create(&self) -> io::Result<i32> {
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
            Ok((*file).fd)
        }
    }
}
