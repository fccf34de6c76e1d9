//! A body that nginx still reads while the application runs (`wsgi_request_buffering off`).
//!
//! nginx has one buffer for it, `client_body_buffer_size`, and reads ahead until that is full; then the client
//! has to wait. Made when the content handler has the head, part of the job. What it takes over is out of
//! reach for others: subrequests, and locations that the request is redirected to, find no body.

use core::ptr;

use nginx_sys::{
    ngx_chain_t, ngx_del_timer, ngx_http_block_reading, ngx_http_read_unbuffered_request_body,
    ngx_http_test_reading,
};

use super::Code;
use super::body::memory;
use super::event::Resume;
use super::request::Request;

/// The part of a body that nginx has and nobody has taken.
pub struct Upload {
    chain: *mut ngx_chain_t,
    is_complete: bool,
}

impl Upload {
    /// Takes over the body of `r`, for which `read_body_unbuffered` has been called. `None` if it is there
    /// completely, or if there is none.
    pub fn begin(r: Request<'_>) -> Option<Self> {
        if !r.is_main() || !r.is_unbuffered() {
            return None;
        }
        let mut upload = Self { chain: ptr::null_mut(), is_complete: false };
        upload.take_over(r);
        Some(upload)
    }

    /// Whether nginx has read all of it.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether all of it has been taken.
    pub fn is_used_up(&self) -> bool {
        self.is_complete && self.chain.is_null()
    }

    /// Has nginx read what the client has sent, as far as there is room for it.
    ///
    /// # Errors
    /// What the request is to be finalized with.
    pub fn fetch(&mut self, r: Request<'_>) -> Result<(), Code> {
        if self.is_complete {
            return Ok(());
        }
        // SAFETY: the request is live, and its body is being read.
        let rc = unsafe { ngx_http_read_unbuffered_request_body(r.as_ptr()) };
        if rc >= nginx_sys::NGX_HTTP_SPECIAL_RESPONSE as Code {
            // nginx calls a body that ends too early a bad request, even if there is nobody to tell.
            let has_left = r.connection().error() != 0 && rc == super::BAD_REQUEST;
            return Err(if has_left { super::CLIENT_CLOSED_REQUEST } else { rc });
        }
        self.take_over(r);
        self.is_complete = rc == super::OK;
        Ok(())
    }

    /// Copies at most `most` bytes; nginx may use their memory again.
    pub fn give(&mut self, r: Request<'_>, mut most: usize, into: &mut Vec<u8>) {
        // SAFETY: the links are from the request's pool, each with a buffer of nginx's, which nobody else
        // reads; a link that has been freed is not used again.
        while let Some(link) = unsafe { self.chain.as_mut() } {
            // SAFETY: as above.
            let buf = unsafe { &mut *link.buf };
            let bytes = memory(buf).unwrap_or_default();
            let part = &bytes[..bytes.len().min(most)];
            into.extend_from_slice(part);
            most -= part.len();
            // SAFETY: within the buffer.
            buf.pos = unsafe { buf.pos.add(part.len()) };
            if part.len() < bytes.len() {
                return;
            }
            self.chain = link.next;
            // SAFETY: what ngx_free_chain(), a macro, does.
            unsafe {
                link.next = (*r.pool()).chain;
                (*r.pool()).chain = link;
            }
        }
    }

    /// Appends what nginx has read to the chain.
    fn take_over(&mut self, r: Request<'_>) {
        // SAFETY: the request has a body, whose chain is ours to take, as it is nginx's upstream module's.
        unsafe {
            let bufs = &mut (*(*r.as_ptr()).request_body).bufs;
            let mut end = &raw mut self.chain;
            while let Some(link) = (*end).as_mut() {
                end = &raw mut link.next;
            }
            *end = core::mem::replace(bufs, ptr::null_mut());
        }
    }
}

/// Has `handler` called when the client sends more of the body, or has left, or was too slow.
pub fn listen(r: Request<'_>, handler: Resume) {
    // SAFETY: the request is live.
    unsafe { (*r.as_ptr()).read_event_handler = Some(handler) };
}

/// For the handler of `listen`: whether the client has closed its side, so that no other event will come.
pub fn has_client_left(r: Request<'_>) -> bool {
    // SAFETY: a live request's connection has a read event.
    unsafe { (*r.connection().read).pending_eof() != 0 }
}

/// Ends the request if the client has left, otherwise goes on looking for that. The request may be gone
/// afterwards.
pub fn watch_client(r: Request<'_>) {
    // SAFETY: the request is live; it is what nginx does with a read event of its own.
    unsafe {
        (*r.as_ptr()).read_event_handler = Some(ngx_http_test_reading);
        ngx_http_test_reading(r.as_ptr());
    }
}

/// Nobody reads the body of `r` any more; nginx discards the rest when the request has ended.
pub fn stop(r: Request<'_>) {
    // SAFETY: the request is live. The timer, `client_body_timeout`, is that of who reads.
    unsafe {
        (*r.as_ptr()).read_event_handler = Some(ngx_http_block_reading);
        let read = r.connection().read;
        if (*read).timer_set() != 0 {
            ngx_del_timer(read);
        }
        (*read).set_timedout(0);
    }
}
