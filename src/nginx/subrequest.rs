//! A subrequest whose response goes to memory and not to the client.
//!
//! An application asks for it; nginx runs it as it runs those of its own modules: it has its turn among the
//! requests of its connection, and may have subrequests itself. The filters in capture.rs take the body, as
//! much of it as `subrequest_output_buffer_size` of its location allows. What came of it is shared by the
//! pool of the request and by whoever asked, and lives as long as the last of the two.

mod asking;
mod response;

use core::fmt;
use core::ptr;
use std::sync::{Arc, Mutex, MutexGuard};

use nginx_sys::{
    NGX_HTTP_HEAD, NGX_HTTP_SUBREQUEST_WAITED, ngx_http_post_request, ngx_http_post_subrequest_t,
    ngx_http_request_body_t, ngx_http_request_t, ngx_http_subrequest, ngx_int_t, ngx_str_t,
    ngx_uint_t,
};

use crate::handover::lock;

pub use response::Response;

use asking::{METHODS, inherited, may_ask, target};
use response::response;

use super::request::Request;
use super::shim::{
    ngx_wsgi_disinherit, ngx_wsgi_is_from_upstream, ngx_wsgi_request_aio,
    ngx_wsgi_request_buffered, ngx_wsgi_request_header_only, ngx_wsgi_request_set_background,
    ngx_wsgi_request_set_buffered, ngx_wsgi_request_set_header_only,
    ngx_wsgi_request_set_main_filter_need_in_memory,
};
use super::{Code, entry, event, pool};

/// Why a subrequest is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The URI does not begin with a slash.
    Relative,
    /// nginx does not take the URI: it leaves the root, or holds a NUL.
    Unsafe,
    /// The arguments would end the request line.
    Unquoted,
    UnknownMethod,
    /// Nobody waits for the request that asks: that of `mirror`, for example.
    Background,
    /// The request that asks goes to memory by nginx's own means.
    InMemory,
    /// Subrequests of subrequests, too many of them.
    TooDeep,
    /// There are tens of thousands of them.
    TooMany,
    NoMemory,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relative => "the URI of a subrequest must begin with \"/\"",
            Self::Unsafe => "nginx takes the URI of this subrequest for unsafe",
            Self::Unquoted => {
                "the arguments of a subrequest must be quoted: spaces and control characters end a \
                 request line"
            }
            Self::UnknownMethod => "nginx does not know the method of this subrequest",
            Self::Background => "a request in the background (mirror) cannot have subrequests",
            Self::InMemory => "nginx does not nest subrequests whose response is kept in memory",
            Self::TooDeep => "subrequests are nested too deep, is there a cycle?",
            Self::TooMany => "the request has too many subrequests",
            Self::NoMemory => "memory runs out",
        })
    }
}

/// Why there is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The body is larger than so many bytes.
    TooLarge(usize),
    /// It began and did not come to its end.
    BrokenOff,
    /// It did not begin.
    Nothing,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(limit) => write!(
                f,
                "the response is larger than {limit} bytes, the subrequest_output_buffer_size of its \
                 location"
            ),
            Self::BrokenOff => f.write_str("the response broke off, see nginx's error log"),
            Self::Nothing => f.write_str("there is no response, see nginx's error log"),
        }
    }
}

/// What came of a subrequest so far.
#[derive(Debug, Default)]
struct Progress {
    body: Vec<u8>,
    failure: Option<Failure>,
    is_complete: bool,
    is_done: bool,
    /// Nobody waits for it any more.
    is_abandoned: bool,
    result: Option<Result<Response, Failure>>,
}

/// A subrequest that has been asked for. Copies are the same subrequest.
#[derive(Clone, Debug, Default)]
pub struct Subrequest(Arc<Mutex<Progress>>);

impl Subrequest {
    /// Asks for one on behalf of `r`. nginx begins with it when the current event has been dealt with, and has
    /// the write event handler of `r` called when it is done. `args` is added to what follows a `?` in `uri`.
    ///
    /// # Errors
    /// Why there will be none.
    pub fn new(r: Request<'_>, uri: &[u8], args: &[u8], method: &[u8]) -> Result<Self, Refused> {
        let known = METHODS.iter().find(|(name, _)| *name == method);
        let method = known.ok_or(Refused::UnknownMethod)?;
        may_ask(r)?;
        let (uri, args) = target(r, uri, args)?;
        let this = Self::default();
        this.start(r, uri, args, *method)?;
        Ok(this)
    }

    fn start(
        &self,
        r: Request<'_>,
        mut uri: ngx_str_t,
        mut args: ngx_str_t,
        (name, method): (&'static [u8], u32),
    ) -> Result<(), Refused> {
        // SAFETY: the request is live, and everything that nginx keeps is in its pool or static.
        unsafe {
            let own = pool::place(r.pool(), self.clone()).ok_or(Refused::NoMemory)?;
            let post =
                pool::zeroed::<ngx_http_post_subrequest_t>(r.pool()).ok_or(Refused::NoMemory)?;
            post.write(ngx_http_post_subrequest_t {
                handler: Some(ended),
                data: ptr::from_mut(own).cast(),
            });
            let body =
                pool::zeroed::<ngx_http_request_body_t>(r.pool()).ok_or(Refused::NoMemory)?;
            let headers = inherited(r).ok_or(Refused::NoMemory)?;
            let mut sr = ptr::null_mut();
            let flags = NGX_HTTP_SUBREQUEST_WAITED as ngx_uint_t;
            let rc =
                ngx_http_subrequest(r.as_ptr(), &mut uri, &mut args, &mut sr, post.as_ptr(), flags);
            if rc != super::OK {
                return Err(Refused::TooMany);
            }
            (*sr).method = method as ngx_uint_t;
            (*sr).method_name = ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
            // Otherwise only the header filter says so, which is not asked for subrequests.
            ngx_wsgi_request_set_header_only(sr, usize::from(method == NGX_HTTP_HEAD));
            // Here and in those that it has itself.
            ngx_wsgi_request_set_main_filter_need_in_memory(sr, 1);
            // Empty, so that the client's is not sent once more.
            (*sr).request_body = body.as_ptr();
            ngx_wsgi_disinherit(sr);
            (*sr).headers_in.headers = headers;
            let list = &raw mut (*sr).headers_in.headers;
            if (*list).part.next.is_null() {
                (*list).last = &raw mut (*list).part;
            }
        }
        Ok(())
    }

    /// That of `r`, if it is one of ours.
    ///
    /// # Safety
    /// `r` must be live for 'r.
    pub(super) unsafe fn of_request<'r>(r: *mut ngx_http_request_t) -> Option<&'r Self> {
        // SAFETY: by the contract of this function; the data of our handler is a Subrequest in the pool.
        unsafe {
            let post = (*r).post_subrequest.as_ref()?;
            let handler = post.handler? as *const ();
            (handler == ended as *const ()).then(|| &*post.data.cast::<Self>())
        }
    }

    /// Whether nginx is done with it.
    pub fn is_done(&self) -> bool {
        self.progress().is_done
    }

    /// What came of it, once; `None` while it is not done.
    pub fn take_result(&self) -> Option<Result<Response, Failure>> {
        self.progress().result.take()
    }

    /// Nobody waits for it any more, so that `r`, which has asked for it, need not either. One that has subrequests
    /// itself keeps its turn, which those need.
    pub fn abandon(&self, r: Request<'_>) {
        if self.is_done() {
            return;
        }
        // SAFETY: the request is live, and so are those that it waits for. What nginx does with subrequests in the
        // background: it ends them without regard to anybody's turn.
        unsafe {
            let request = r.as_ptr();
            let mut slot = &raw mut (*request).postponed;
            while let Some(postponed) = (*slot).as_ref() {
                let sr = postponed.request;
                let is_this = !sr.is_null()
                    && Self::of_request(sr).is_some_and(|other| Arc::ptr_eq(&other.0, &self.0));
                if !is_this {
                    slot = &raw mut (**slot).next;
                    continue;
                }
                if (*sr).postponed.is_null() {
                    *slot = postponed.next;
                    ngx_wsgi_request_set_background(sr, 1);
                    let c = (*request).connection;
                    if (*c).data == sr.cast() {
                        (*c).data = request.cast();
                    }
                    self.progress().is_abandoned = true;
                }
                return;
            }
        }
    }

    /// Whether nobody waits for it any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.progress().is_abandoned
    }

    /// Takes a part of the body.
    pub(super) fn take(&self, part: &[u8], limit: usize) {
        let mut progress = self.progress();
        if progress.failure.is_some() || progress.is_done {
            return;
        }
        if progress.body.len() + part.len() > limit {
            progress.failure = Some(Failure::TooLarge(limit));
            progress.body = Vec::new();
        } else {
            progress.body.extend_from_slice(part);
        }
    }

    /// What follows of it is worth nothing.
    pub(super) fn break_off(&self) {
        let mut progress = self.progress();
        progress.failure.get_or_insert(Failure::BrokenOff);
        progress.body = Vec::new();
    }

    /// Whoever responds has come to the end.
    pub(super) fn completes(&self) {
        self.progress().is_complete = true;
    }

    /// nginx is done with it.
    fn end(&self, r: *mut ngx_http_request_t) {
        let mut progress = self.progress();
        if progress.is_done {
            return;
        }
        progress.is_done = true;
        let body = core::mem::take(&mut progress.body);
        // SAFETY: nginx passes the live request.
        let (is_head, is_from_upstream) =
            unsafe { (ngx_wsgi_request_header_only(r) != 0, ngx_wsgi_is_from_upstream(r) != 0) };
        // nginx does not say when an upstream server leaves in the middle.
        let is_cut = is_from_upstream && !is_head && !progress.is_complete;
        // SAFETY: as above.
        let response = || unsafe { response(&(*r).headers_out, body, is_head) };
        progress.result = Some(match progress.failure {
            Some(failure) => Err(failure),
            None if is_cut => Err(Failure::BrokenOff),
            None => response().ok_or(Failure::Nothing),
        });
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        lock(&self.0)
    }
}

/// Lets the next subrequest of `r` have its turn, which would otherwise wait until `r` sends something. True
/// if that one is done, so that `r` is called again at once.
pub fn pass_turn(r: Request<'_>) -> bool {
    if !r.has_turn() {
        return false;
    }
    // SAFETY: the request is live, and so are those that it waits for. What the postpone filter does; that one
    // cannot be called before the head is sent, because other filters begin with it. The subrequest stays in the
    // list, from which nginx takes it when it is done, so that the request is not done before.
    unsafe {
        let Some(postponed) = (*r.as_ptr()).postponed.as_ref() else { return false };
        let sr = postponed.request;
        if sr.is_null() {
            return false;
        }
        let Some(subrequest) = Subrequest::of_request(sr) else { return false };
        // Nobody would call one that has the turn and is not posted.
        if ngx_http_post_request(sr, ptr::null_mut()) != super::OK {
            return false;
        }
        (*(*r.as_ptr()).connection).data = sr.cast();
        subrequest.is_done()
    }
}

/// Whether something waits for its turn that `r` has given, or that filters have made of it. Subrequests of ours
/// are told from those.
pub fn has_postponed(r: Request<'_>) -> bool {
    // SAFETY: the request is live, and so are those that it waits for.
    unsafe {
        let mut next = (*r.as_ptr()).postponed;
        while let Some(postponed) = next.as_ref() {
            let sr = postponed.request;
            if sr.is_null() || Subrequest::of_request(sr).is_none() {
                return true;
            }
            next = postponed.next;
        }
    }
    false
}

/// Where nginx tells that it finalizes a subrequest with `rc`, which may not be the last time: an error page may
/// follow, or something may still have to be sent. Returns what to finalize it with.
unsafe extern "C" fn ended(
    sr: *mut ngx_http_request_t,
    data: *mut core::ffi::c_void,
    rc: ngx_int_t,
) -> ngx_int_t {
    entry::guard(rc, || {
        // SAFETY: nginx passes the live request and the data that belongs to this handler.
        unsafe {
            let this = &*data.cast::<Subrequest>();
            let rc = spare_main(sr, this, rc);
            let is_error_page = is_special(rc);
            let is_over = !is_error_page
                && (*sr).postponed.is_null()
                && ngx_wsgi_request_buffered(sr) == 0
                && rc != super::ERROR;
            if is_over {
                this.end(sr);
                let r = Request::from_ptr(sr);
                if r.has_turn() && (*(*sr).connection).buffered() == 0 {
                    // Armed when it had to wait, and would look like the client's fault later.
                    event::disarm(r);
                }
            }
            rc
        }
    })
}

/// Whether nginx answers by a page of its own.
fn is_special(rc: Code) -> bool {
    const CREATED: Code = nginx_sys::NGX_HTTP_CREATED as Code;
    const NO_CONTENT: Code = nginx_sys::NGX_HTTP_NO_CONTENT as Code;
    const SPECIAL: Code = nginx_sys::NGX_HTTP_SPECIAL_RESPONSE as Code;
    rc >= SPECIAL || rc == CREATED || rc == NO_CONTENT
}

/// What to finalize `r` with instead of `rc`, if it is a part of a subrequest of ours, an include of its page for
/// example: see `spare_main`.
pub fn spare(r: Request<'_>, rc: Code) -> Code {
    if r.is_main() {
        return rc;
    }
    // SAFETY: the request is live, and so are its parents.
    unsafe {
        match captor(r.as_ptr()) {
            Some((_, this)) => spare_main(r.as_ptr(), this, rc),
            None => rc,
        }
    }
}

/// The subrequest of ours that takes what `r` sends, and its request: `r` itself, or the next of its parents.
///
/// # Safety
/// `r` must be live for 'r.
pub(super) unsafe fn captor<'r>(
    r: *mut ngx_http_request_t,
) -> Option<(*mut ngx_http_request_t, &'r Subrequest)> {
    let mut next = r;
    // SAFETY: by the contract of this function; parents live as long as their subrequests.
    unsafe {
        while let Some(request) = next.as_ref() {
            if let Some(found) = Subrequest::of_request(next) {
                return Some((next, found));
            }
            next = request.parent;
        }
    }
    None
}

/// nginx closes the client's connection when a subrequest fails in certain ways. Unless it is lost anyway the
/// failure is noted instead, and the application told.
///
/// # Safety
/// `sr` must be live.
unsafe fn spare_main(sr: *mut ngx_http_request_t, this: &Subrequest, rc: Code) -> Code {
    const CLOSE: Code = nginx_sys::NGX_HTTP_CLOSE as Code;
    // SAFETY: by the contract of this function.
    unsafe {
        let c = (*sr).connection;
        if (*c).error() != 0 || (*c).timedout() != 0 {
            return rc;
        }
        match rc {
            super::ERROR | super::REQUEST_TIME_OUT | super::CLIENT_CLOSED_REQUEST | CLOSE => {
                this.break_off();
                if ngx_wsgi_request_aio(sr) == 0 {
                    // Nobody will complete what a filter has kept.
                    ngx_wsgi_request_set_buffered(sr, 0);
                }
                super::OK
            }
            rc => rc,
        }
    }
}
