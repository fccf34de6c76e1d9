//! What goes to the client: the head, blocks, a file, the end.
//!
//! One per request. Blocks are handed to nginx by reference and parked here until nginx has no more use
//! for them; only small ones that stand next to each other are copied together. With
//! `wsgi_output_buffering` nginx may hold some of them and still be given more.

use core::ptr;

use nginx_sys::{
    NGX_HTTP_PARTIAL_CONTENT, NGX_HTTP_WRITE_BUFFERED, ngx_buf_t, ngx_chain_get_free_buf,
    ngx_chain_t, ngx_chain_update_chains, ngx_file_t, ngx_http_output_filter, ngx_http_request_t,
    ngx_http_send_header,
};

use crate::block::Block;

use super::accel::{Redirect, ResponseRules, survives_redirect};
use super::headers::{self, Ranges, ResponseHead};
use super::pool;
use super::process;
use super::request::Request;
use super::shim::{
    NGX_WSGI_SSL_BUFFERED, NGX_WSGI_V2_BUFFERED, ngx_wsgi_request_aio,
    ngx_wsgi_request_header_only, ngx_wsgi_request_set_keepalive,
};
use super::spool::Spool;
use super::{Code, ERROR, subrequest};

/// Neighbouring blocks below this size are copied into one buffer. Measured with lists of 16 blocks: copying
/// costs 5 to 10 % less per response up to 700 bytes a block, and there is no difference from 1,500 on.
const COPY_BELOW: usize = 1024;

/// What nginx answered to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They are with the kernel.
    Taken,
    /// nginx holds some of them; it says when it can go on through the write event.
    Again,
    /// There is nobody to send to.
    Gone,
}

/// What nginx answered to the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadFlow {
    /// A body may follow.
    Body,
    /// No body is due: HEAD, 204, 304, a subrequest that wants the head only.
    NoBody,
    /// A filter answered by itself, nginx is to, or there is nobody to send to; finalize with this code.
    Ended(Code),
    /// X-Accel-Redirect: nothing has been sent.
    Redirected(Redirect),
}

/// The output of one request.
pub struct Output<B> {
    r: *mut ngx_http_request_t,
    free: *mut ngx_chain_t,
    busy: *mut ngx_chain_t,
    parked: Vec<B>,
    /// Small blocks that were copied together, for as long.
    copies: Vec<Vec<u8>>,
    is_buffering: bool,
    is_head_sent: bool,
    is_finished: bool,
    is_gone: bool,
    has_file: bool,
    /// The range filter may send several parts of the body, which leaves our buffers as they are.
    is_in_parts: bool,
}

impl<B: Block> Output<B> {
    /// The output of `r`.
    ///
    /// # Safety
    /// `r` must stay alive as long as the output is used, on nginx's thread.
    pub unsafe fn new(r: *mut ngx_http_request_t, is_buffering: bool) -> Self {
        Self {
            r,
            free: ptr::null_mut(),
            busy: ptr::null_mut(),
            parked: Vec::new(),
            copies: Vec::new(),
            is_buffering,
            is_head_sent: false,
            is_finished: false,
            is_gone: false,
            has_file: false,
            is_in_parts: false,
        }
    }

    /// Whether the head has been given to nginx.
    pub fn is_head_sent(&self) -> bool {
        self.is_head_sent
    }

    /// Whether nginx has been told that the body is complete.
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Whether the client has left or nginx has failed to send.
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Whether nginx may still read from the file that it was given.
    pub fn is_sending_file(&self) -> bool {
        self.has_file && !self.busy.is_null()
    }

    /// Gives the client up.
    pub fn abandon(&mut self) {
        self.is_gone = true;
    }

    /// Sends the head, or does instead what the rules of the location say.
    pub fn send_head<'a>(
        &mut self,
        head: ResponseHead<'a, impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone>,
        rules: &ResponseRules,
    ) -> HeadFlow {
        self.try_send_head(head, rules).unwrap_or_else(|| {
            self.is_gone = true;
            HeadFlow::Ended(ERROR)
        })
    }

    /// `None` if memory runs out.
    fn try_send_head<'a>(
        &mut self,
        head: ResponseHead<'a, impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone>,
        rules: &ResponseRules,
    ) -> Option<HeadFlow> {
        // SAFETY: the request is live, and this is the first and only head.
        unsafe {
            let r = Request::from_ptr(self.r);
            let accel = rules.accel(head.fields.clone());
            accel.apply(r)?;
            self.is_buffering = accel.buffering.unwrap_or(self.is_buffering);
            if rules.intercepts(head.status) {
                let is_kept = |name: &[u8]| {
                    head.status == 401 && name.eq_ignore_ascii_case(b"www-authenticate")
                };
                headers::keep(self.r, head.fields, is_kept)?;
                return Some(HeadFlow::Ended(Code::from(head.status as i16)));
            }
            if let Some(target) = accel.redirect {
                headers::keep(self.r, head.fields, survives_redirect)?;
                return Some(HeadFlow::Redirected(Redirect::new(r, target)?));
            }
            self.is_head_sent = true;
            let ranges = head.ranges;
            headers::apply(self.r, head, rules)?;
            if process::is_ending() {
                // nginx closes the connection after the response, but older ones do not say so.
                ngx_wsgi_request_set_keepalive(self.r, 0);
            }
            let rc = ngx_http_send_header(self.r);
            self.is_in_parts = ranges == Ranges::Multiple
                && (*self.r).headers_out.status == NGX_HTTP_PARTIAL_CONTENT as usize;
            Some(if rc == ERROR || rc > super::OK {
                self.is_gone = rc == ERROR;
                HeadFlow::Ended(rc)
            } else if ngx_wsgi_request_header_only(self.r) != 0 {
                HeadFlow::NoBody
            } else {
                HeadFlow::Body
            })
        }
    }

    /// Sends `blocks`, none of them empty. `last`: the body is complete with them.
    pub fn send(&mut self, blocks: Vec<B>, last: bool) -> Flow {
        if blocks.is_empty() && !last {
            return Flow::Taken;
        }
        let mut chain = ChainBuilder::new(self.r, &mut self.free);
        let built = chain
            .blocks(&blocks, &mut self.copies)
            .and_then(|()| chain.close(last, self.is_buffering));
        let chain = chain.first;
        if self.parked.is_empty() {
            self.parked = blocks;
        } else {
            self.parked.extend(blocks);
        }
        self.pass(built, chain, last)
    }

    /// Sends `length` bytes of the open file `fd` from `offset`. `last` as above.
    pub fn send_file(&mut self, fd: i32, offset: u64, length: u64, last: bool) -> Flow {
        let mut chain = ChainBuilder::new(self.r, &mut self.free);
        let mut built = Some(());
        if length > 0 {
            // SAFETY: the structure is in the request's pool; the application's file is closed later.
            built = unsafe { file(self.r, fd).and_then(|file| chain.file(file, offset, length)) };
        }
        self.has_file = true;
        let built = built.and_then(|()| chain.close(last, self.is_buffering));
        let chain = chain.first;
        self.pass(built, chain, last)
    }

    /// Has nginx send what it holds, the head for example.
    pub fn send_nothing(&mut self) -> Flow {
        let mut chain = ChainBuilder::new(self.r, &mut self.free);
        let built = chain.close(false, false);
        let chain = chain.first;
        self.pass(built, chain, false)
    }

    /// Sends what was spooled since the last time.
    pub fn send_spool(&mut self, spool: &mut Spool) -> Flow {
        let mut chain = ChainBuilder::new(self.r, &mut self.free);
        let mut built = Some(());
        if let Some((file, offset, length)) = spool.take_file() {
            // SAFETY: the file of the spool is open until the request's pool is destroyed.
            built = built.and_then(|()| unsafe { chain.file(file, offset, length) });
        }
        if let Some(memory) = spool.take_memory() {
            built = built.and_then(|()| chain.referenced(memory));
        }
        let built = built.and_then(|()| chain.close(false, self.is_buffering));
        let chain = chain.first;
        self.pass(built, chain, false)
    }

    /// Lets nginx go on with what it holds.
    pub fn flush(&mut self) -> Flow {
        // SAFETY: an empty chain makes the filters continue with what they have.
        let rc = unsafe { ngx_http_output_filter(self.r, ptr::null_mut()) };
        self.after(rc, ptr::null_mut())
    }

    /// The blocks that nginx is done with, to be dropped where their owners can be.
    #[must_use]
    pub fn release(&mut self) -> Vec<B> {
        if !self.busy.is_null() {
            return Vec::new();
        }
        self.copies.clear();
        core::mem::take(&mut self.parked)
    }

    /// All blocks, because the request's pool is being destroyed and with it whatever nginx still held.
    #[must_use]
    pub fn surrender(&mut self) -> Vec<B> {
        core::mem::take(&mut self.parked)
    }

    /// Whether nginx may hold some of it and still be given more.
    pub fn is_buffering(&self) -> bool {
        self.is_buffering
    }

    fn pass(&mut self, built: Option<()>, chain: *mut ngx_chain_t, last: bool) -> Flow {
        if built.is_none() {
            self.is_gone = true;
            return Flow::Gone;
        }
        self.is_finished |= last;
        // SAFETY: the chain consists of buffers that stay valid until consumed: parked blocks, pool
        // memory, or a file that is closed later.
        let rc = unsafe { ngx_http_output_filter(self.r, chain) };
        self.after(rc, chain)
    }

    fn after(&mut self, rc: Code, chain: *mut ngx_chain_t) -> Flow {
        // Done after an error too: what was taken before it may still be in the queue of an HTTP/2 connection.
        self.reclaim(chain);
        if rc == ERROR {
            self.is_gone = true;
            return Flow::Gone;
        }
        if self.may_go_on() {
            Flow::Taken
        } else if self.is_held_by_tls() {
            self.push_through_tls()
        } else {
            Flow::Again
        }
    }

    /// Takes back the buffers that nginx has no more use for, after it was given those of `chain`. None as long
    /// as it holds anything: an empty buffer, a flush, looks as if it had been sent, but it may stand in a chain
    /// of nginx, and used again for a block it would send that twice.
    fn reclaim(&mut self, mut chain: *mut ngx_chain_t) {
        let is_free = self.is_free_of(NGX_HTTP_WRITE_BUFFERED | NGX_WSGI_V2_BUFFERED);
        // SAFETY: the chains are ours, told from those of the filters by the tag.
        unsafe {
            if is_free {
                let (pool, tag) = ((*self.r).pool, tag());
                ngx_chain_update_chains(pool, &mut self.free, &mut self.busy, &mut chain, tag);
                return;
            }
            let mut end: *mut *mut ngx_chain_t = &raw mut self.busy;
            while !(*end).is_null() {
                end = &raw mut (**end).next;
            }
            *end = chain;
        }
    }

    /// Whether OpenSSL's buffer alone holds something, although the socket takes bytes: no event would come.
    /// nginx fills the buffer up, forgets the flush that stood on our buffer when it is full, and keeps what
    /// follows, the end of a chunk for example.
    fn is_held_by_tls(&self) -> bool {
        // SAFETY: the request is live.
        let wev = unsafe { &*(*(*self.r).connection).write };
        !self.is_finished
            && self.is_consumed()
            && self.is_free_of(NGX_HTTP_WRITE_BUFFERED | NGX_WSGI_V2_BUFFERED)
            && wev.ready() != 0
            && wev.delayed() == 0
    }

    /// Sends a flush of its own.
    fn push_through_tls(&mut self) -> Flow {
        let mut chain = ChainBuilder::new(self.r, &mut self.free);
        if chain.close(false, false).is_none() {
            self.is_gone = true;
            return Flow::Gone;
        }
        let chain = chain.first;
        // SAFETY: as in `pass`; the buffer holds nothing.
        unsafe {
            let rc = ngx_http_output_filter(self.r, chain);
            self.reclaim(chain);
            if rc == ERROR {
                self.is_gone = true;
                return Flow::Gone;
            }
        }
        if self.may_go_on() { Flow::Taken } else { Flow::Again }
    }

    /// Whether more may be sent: everything is with the kernel, or nginx may hold some of it. OpenSSL's
    /// buffer counts as held then; no event would empty it.
    pub fn may_go_on(&self) -> bool {
        if self.is_buffering {
            self.is_free_of(NGX_HTTP_WRITE_BUFFERED | NGX_WSGI_V2_BUFFERED)
        } else {
            self.is_drained()
        }
    }

    /// Whether nginx has no more use for anything that it was given.
    pub fn is_drained(&self) -> bool {
        self.is_consumed()
            && self
                .is_free_of(NGX_HTTP_WRITE_BUFFERED | NGX_WSGI_SSL_BUFFERED | NGX_WSGI_V2_BUFFERED)
    }

    /// Whether nginx's filters have taken our buffers. A body in parts is sent as a whole by buffers of
    /// nginx's own, and then the socket alone tells.
    fn is_consumed(&self) -> bool {
        self.busy.is_null() || (self.is_in_parts && self.is_finished)
    }

    /// Whether everything that a write event could move is with the kernel, as far as `socket` goes, bits of
    /// c->buffered. That nginx said OK does not mean it: the connection may hold data, and the output of a
    /// request may wait for that of a subrequest. What a filter keeps until it sees more, the image filter
    /// for example, does not count.
    fn is_free_of(&self, socket: u32) -> bool {
        // SAFETY: the request is live.
        unsafe {
            let r = &*self.r;
            !subrequest::has_postponed(Request::from_ptr(self.r))
                && (*r.connection).buffered() & socket == 0
                && ngx_wsgi_request_aio(self.r) == 0
        }
    }
}

/// Whether these blocks go to nginx in one buffer.
pub fn is_one_buffer<B: Block>(blocks: &[B]) -> bool {
    groups(blocks).nth(1).is_none()
}

/// Neighbours that are copied together, and large blocks by themselves.
fn groups<B: Block>(blocks: &[B]) -> impl Iterator<Item = &[B]> {
    let is_small = |block: &B| block.as_bytes().len() < COPY_BELOW;
    blocks.chunk_by(move |a, b| is_small(a) && is_small(b))
}

/// The size of the regular file behind `fd`, `None` if it is something else.
pub fn regular_file_size(fd: i32) -> Option<u64> {
    // SAFETY: fstat writes the structure it is given.
    unsafe {
        let mut stat = core::mem::zeroed::<libc::stat>();
        let is_regular =
            libc::fstat(fd, &mut stat) == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFREG;
        is_regular.then_some(stat.st_size as u64)
    }
}

/// nginx's structure for an application's open file. `None` if memory runs out.
fn file(r: *mut ngx_http_request_t, fd: i32) -> Option<*mut ngx_file_t> {
    // SAFETY: a zeroed ngx_file_t is valid; the pool and the log outlive it.
    unsafe {
        let file = &mut *pool::zeroed::<ngx_file_t>((*r).pool)?.as_ptr();
        file.fd = fd;
        // nginx prints the name, as a C string, when sending fails.
        let name = c"file of an application";
        file.name.len = name.count_bytes();
        file.name.data = name.as_ptr().cast_mut().cast();
        file.log = (*(*r).connection).log;
        Some(file)
    }
}

/// Marks our buffers; any address that is ours alone will do.
fn tag() -> *mut core::ffi::c_void {
    static TAG: u8 = 0;
    ptr::from_ref(&TAG).cast_mut().cast()
}

/// A chain of buffers in the making.
struct ChainBuilder<'o> {
    r: *mut ngx_http_request_t,
    free: &'o mut *mut ngx_chain_t,
    first: *mut ngx_chain_t,
    last: *mut ngx_chain_t,
}

impl<'o> ChainBuilder<'o> {
    fn new(r: *mut ngx_http_request_t, free: &'o mut *mut ngx_chain_t) -> Self {
        Self { r, free, first: ptr::null_mut(), last: ptr::null_mut() }
    }

    /// Adds the blocks, small neighbours together.
    fn blocks<B: Block>(&mut self, blocks: &[B], copies: &mut Vec<Vec<u8>>) -> Option<()> {
        for group in groups(blocks) {
            match group {
                [block] => self.referenced(block.as_bytes())?,
                blocks => {
                    // Not into the request's pool, which would keep the copy until the request ends.
                    copies.push(blocks.iter().map(Block::as_bytes).collect::<Vec<_>>().concat());
                    self.referenced(copies.last()?)?;
                }
            }
        }
        Some(())
    }

    fn referenced(&mut self, bytes: &[u8]) -> Option<()> {
        let buf = self.push()?;
        let start = bytes.as_ptr().cast_mut();
        buf.pos = start;
        buf.start = start;
        // SAFETY: one past the end of the slice.
        buf.last = unsafe { start.add(bytes.len()) };
        buf.end = buf.last;
        // Read only: filters must not change it in place.
        buf.set_memory(1);
        Some(())
    }

    /// # Safety
    /// `file` must be valid, and open, until the buffer has been consumed.
    unsafe fn file(&mut self, file: *mut ngx_file_t, offset: u64, length: u64) -> Option<()> {
        let buf = self.push()?;
        buf.set_in_file(1);
        buf.file = file;
        buf.file_pos = offset as libc::off_t;
        buf.file_last = (offset + length) as libc::off_t;
        Some(())
    }

    /// Marks the end of what is sent now. PEP 3333 forbids to delay a block, so nginx is told to flush,
    /// unless it may hold blocks. The end of the whole response needs no telling; that of a subrequest
    /// does, or nginx would hold a small block until more follows, which we would wait for.
    fn close(&mut self, last: bool, may_hold: bool) -> Option<()> {
        // SAFETY: links and buffers of the chain are valid.
        unsafe {
            let (buf, is_bare) = match self.last.as_ref() {
                Some(link) => (&mut *link.buf, false),
                None => (self.push()?, true),
            };
            let is_main = (*self.r).main == self.r;
            buf.set_last_in_chain(last.into());
            buf.set_last_buf((last && is_main).into());
            // A buffer with nothing in it needs a flag.
            let flush = if last { !is_main } else { is_bare || !may_hold };
            buf.set_flush(flush.into());
        }
        Some(())
    }

    fn push(&mut self) -> Option<&'o mut ngx_buf_t> {
        // SAFETY: nginx gives a link with a buffer, a used one of ours or a new one from the pool; it is
        // cleared before use, as nginx's own modules do.
        unsafe {
            let link = ngx_chain_get_free_buf((*self.r).pool, self.free);
            if link.is_null() {
                return None;
            }
            (*link).next = ptr::null_mut();
            ptr::write_bytes((*link).buf, 0, 1);
            (*(*link).buf).tag = tag();
            match self.last.as_mut() {
                Some(last) => last.next = link,
                None => self.first = link,
            }
            self.last = link;
            Some(&mut *(*link).buf)
        }
    }
}
