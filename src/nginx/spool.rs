//! Bytes that wait for their turn: in memory up to a limit, then in a temporary file.
//!
//! What an application writes with `write()` over HTTP/2 and HTTP/3, whose socket must not be waited for,
//! and in a subrequest whose turn has not come. The file has no name and is closed with the pool.

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
    memory: Vec<u8>,
    /// Descriptor and length.
    file: Option<(i32, u64)>,
}

impl Spool {
    /// An empty spool whose file, if one is needed, is made in `path`.
    ///
    /// # Safety
    /// `r` must be alive as long as the spool, and `path` a path of its configuration.
    pub unsafe fn new(r: *mut ngx_http_request_t, path: *mut ngx_path_t) -> Self {
        Self { r, path, memory: Vec::new(), file: None }
    }

    /// The bytes in memory; they come after those in the file.
    pub fn memory(&self) -> &[u8] {
        &self.memory
    }

    /// The file and the length of what is in it.
    pub fn file(&self) -> Option<(i32, u64)> {
        self.file
    }

    /// Adds bytes.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        // SAFETY: set when nginx starts.
        let limit = unsafe { ngx_pagesize };
        if self.memory.len() + bytes.len() <= limit {
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        let (fd, length) = match self.file {
            Some(file) => file,
            None => (self.create()?, 0),
        };
        // SAFETY: the descriptor is open until the request's pool is destroyed; ManuallyDrop keeps it so.
        let file = unsafe { ManuallyDrop::new(File::from_raw_fd(fd)) };
        file.write_all_at(&self.memory, length)?;
        file.write_all_at(bytes, length + self.memory.len() as u64)?;
        self.file = Some((fd, length + (self.memory.len() + bytes.len()) as u64));
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
