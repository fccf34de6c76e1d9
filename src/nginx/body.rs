//! The client's body, once nginx has read it: buffers in memory, a temporary file, or both.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};
use std::os::unix::fs::FileExt;

use nginx_sys::{ngx_buf_t, ngx_chain_t, ngx_file_t};

/// How much of a file is read ahead for lines; reads of known size go past this buffer.
const READ_AHEAD: usize = 32 * 1024;

/// A reader over the chain of buffers that nginx has filled. Reading does not change the buffers, so
/// that a subrequest or an internal redirect finds them whole.
pub struct ClientBody {
    chain: *mut ngx_chain_t,
    /// How much of the first buffer has been read.
    taken: u64,
    remaining: u64,
    ahead: Vec<u8>,
    ahead_taken: usize,
}

// SAFETY: once the body has been read nginx does not touch the chain until the request ends, and the
// reader is dropped before that (contract of `new`).
unsafe impl Send for ClientBody {}

impl ClientBody {
    /// A reader over `chain`.
    ///
    /// # Safety
    /// The chain and its buffers must stay valid and unchanged until the reader is dropped.
    pub unsafe fn new(chain: *mut ngx_chain_t) -> Self {
        let mut body = Self { chain, taken: 0, remaining: 0, ahead: Vec::new(), ahead_taken: 0 };
        let mut link = chain;
        // SAFETY: by the contract of this function.
        while let Some(cl) = unsafe { link.as_ref() } {
            // SAFETY: each link has a buffer.
            body.remaining += unsafe { length(&*cl.buf) };
            link = cl.next;
        }
        body
    }

    /// How many bytes are left to read.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The buffer that holds the next byte, skipping those that are used up.
    fn current(&mut self) -> Option<&'static ngx_buf_t> {
        loop {
            // SAFETY: by the contract of `new`; the 'static ends up in this module's functions only.
            let link = unsafe { self.chain.as_ref() }?;
            // SAFETY: as above.
            let buf = unsafe { &*link.buf };
            if self.taken < length(buf) {
                return Some(buf);
            }
            self.chain = link.next;
            self.taken = 0;
        }
    }

    fn advance(&mut self, amount: usize) {
        self.taken += amount as u64;
        self.remaining -= amount as u64;
    }

    fn ahead(&self) -> &[u8] {
        &self.ahead[self.ahead_taken..]
    }

    /// The next bytes, as far as they are in memory.
    pub fn at_hand(&mut self) -> &[u8] {
        if self.ahead().is_empty()
            && let Some(bytes) = self.current().and_then(memory)
        {
            return &bytes[self.taken as usize..];
        }
        self.ahead()
    }
}

impl Read for ClientBody {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut at_hand = self.at_hand();
        if !at_hand.is_empty() {
            let amount = at_hand.read(into)?;
            self.consume(amount);
            return Ok(amount);
        }
        let Some(buf) = self.current() else { return Ok(0) };
        let amount = read_file(buf, self.taken, into)?;
        self.advance(amount);
        Ok(amount)
    }
}

impl BufRead for ClientBody {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at_hand().is_empty()
            && let Some(buf) = self.current()
        {
            self.ahead.resize(READ_AHEAD, 0);
            self.ahead_taken = 0;
            let amount = read_file(buf, self.taken, &mut self.ahead);
            self.ahead.truncate(*amount.as_ref().unwrap_or(&0));
            amount?;
        }
        Ok(self.at_hand())
    }

    fn consume(&mut self, amount: usize) {
        if !self.ahead().is_empty() {
            self.ahead_taken += amount;
        }
        self.advance(amount);
    }
}

/// A body that outlives its request: what was in memory is copied, the file's descriptor is
/// duplicated. Both share the file's offset, so it is read by position.
pub struct OwnedBody {
    body: ClientBody,
    /// What the body's chain consists of.
    _chain: Box<[ngx_chain_t]>,
    _bufs: Box<[ngx_buf_t]>,
    _file: Box<ngx_file_t>,
    _memory: Vec<u8>,
    _open: Option<File>,
}

// SAFETY: everything that the pointers in it lead to is its own.
unsafe impl Send for OwnedBody {}

impl OwnedBody {
    /// The body of `r`, `None` if nginx has read none.
    ///
    /// # Errors
    /// The descriptor could not be duplicated.
    pub fn of(r: super::Request<'_>) -> io::Result<Option<Self>> {
        // SAFETY: nginx has read the body, and the reader is dropped before this function returns.
        let Some(body) = (unsafe { r.body() }) else { return Ok(None) };
        let mut bufs = Vec::new();
        let mut link = body.chain;
        // SAFETY: the links of the request's chain, each with a buffer.
        while let Some(cl) = unsafe { link.as_ref() } {
            // SAFETY: as above; a bitwise copy of a plain structure.
            bufs.push(unsafe { core::ptr::read(cl.buf) });
            link = cl.next;
        }
        let mut memory =
            Vec::with_capacity(bufs.iter().filter_map(self::memory).map(<[u8]>::len).sum());
        // SAFETY: zeroes are a valid ngx_file_t.
        let mut file: Box<ngx_file_t> = Box::new(unsafe { core::mem::zeroed() });
        let mut open = None;
        for buf in &mut bufs {
            if let Some(bytes) = self::memory(buf) {
                let start = memory.len();
                // Within the capacity, so that it does not move.
                memory.extend_from_slice(bytes);
                buf.pos = memory[start..].as_mut_ptr();
                // SAFETY: one past the end of the copy.
                buf.last = unsafe { buf.pos.add(bytes.len()) };
            } else if buf.in_file() != 0 {
                // SAFETY: nginx keeps the file open while the request lives. All buffers share one file.
                let fd = unsafe { BorrowedFd::borrow_raw((*buf.file).fd) };
                let copy = File::from(fd.try_clone_to_owned()?);
                file.fd = copy.as_raw_fd();
                buf.file = &mut *file;
                open = Some(copy);
            }
        }
        let mut bufs = bufs.into_boxed_slice();
        let mut chain: Box<[ngx_chain_t]> =
            bufs.iter_mut().map(|buf| ngx_chain_t { buf, next: core::ptr::null_mut() }).collect();
        for index in 1..chain.len() {
            chain[index - 1].next = &mut chain[index];
        }
        // SAFETY: the chain and what it leads to are moved into the same value, which does not move them.
        let body = unsafe { ClientBody::new(chain.as_mut_ptr()) };
        Ok(Some(Self {
            body,
            _chain: chain,
            _bufs: bufs,
            _file: file,
            _memory: memory,
            _open: open,
        }))
    }

    /// How many bytes are left to read.
    pub fn remaining(&self) -> u64 {
        self.body.remaining()
    }

    /// The next bytes, as far as they are in memory.
    pub fn at_hand(&mut self) -> &[u8] {
        self.body.at_hand()
    }
}

impl Read for OwnedBody {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.body.read(into)
    }
}

impl BufRead for OwnedBody {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.body.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.body.consume(amount);
    }
}

fn length(buf: &ngx_buf_t) -> u64 {
    match memory(buf) {
        Some(bytes) => bytes.len() as u64,
        None if buf.in_file() != 0 => (buf.file_last - buf.file_pos) as u64,
        None => 0,
    }
}

pub(super) fn memory(buf: &ngx_buf_t) -> Option<&'static [u8]> {
    let in_memory = buf.temporary() != 0 || buf.memory() != 0 || buf.mmap() != 0;
    in_memory.then(|| {
        // SAFETY: nginx's in-memory buffers hold initialised bytes from pos to last, which live as long
        // as the request (contract of `ClientBody::new`).
        unsafe { core::slice::from_raw_parts(buf.pos, buf.last.offset_from(buf.pos) as usize) }
    })
}

/// Reads from the temporary file, without moving its offset.
pub(super) fn read_file(buf: &ngx_buf_t, taken: u64, into: &mut [u8]) -> io::Result<usize> {
    let left = (buf.file_last - buf.file_pos) as u64 - taken;
    let length = into.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    // SAFETY: the buffer is in a file that nginx keeps open while the request lives; ManuallyDrop leaves
    // it open.
    let file = unsafe { ManuallyDrop::new(File::from_raw_fd((*buf.file).fd)) };
    match file.read_at(&mut into[..length], buf.file_pos as u64 + taken)? {
        0 if length > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
        amount => Ok(amount),
    }
}
