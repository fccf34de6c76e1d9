//! Waiting: for the socket, and for a turn of the event loop.

use core::cell::UnsafeCell;
use core::time::Duration;
use std::thread;

use nginx_sys::{
    ngx_add_timer, ngx_current_msec, ngx_del_timer, ngx_delete_posted_event, ngx_event_t,
    ngx_handle_write_event, ngx_http_block_reading, ngx_http_log_ctx_t, ngx_http_request_t,
    ngx_http_run_posted_requests, ngx_http_test_reading, ngx_msec_t, ngx_post_event,
    ngx_posted_events, ngx_posted_next_events, ngx_time_update,
};

use super::entry;
use super::log::Level;
use super::request::Request;
use super::shim::{
    ngx_wsgi_request_aio, ngx_wsgi_request_post_action, ngx_wsgi_request_set_http_state,
};

/// What nginx calls when a request can go on.
pub type Resume = unsafe extern "C" fn(*mut ngx_http_request_t);

/// What a write event means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteEvent {
    /// Bytes can be sent.
    Ready,
    /// nginx delays the response (`limit_rate`) or waits for a file.
    Delayed,
    /// The client has not taken anything for `send_timeout`.
    TimedOut,
}

/// Reads the write event that `resume` was called for.
pub fn write_event(r: Request<'_>) -> WriteEvent {
    // SAFETY: the request is live, and so are its connection and events.
    unsafe {
        let c = (*r.as_ptr()).connection;
        let wev = (*c).write;
        if (*wev).timedout() != 0 {
            r.log().write(Level::Info, "client timed out");
            (*c).set_timedout(1);
            WriteEvent::TimedOut
        } else if (*wev).delayed() != 0 || ngx_wsgi_request_aio(r.as_ptr()) != 0 {
            WriteEvent::Delayed
        } else {
            WriteEvent::Ready
        }
    }
}

/// Has `resume` called when nginx can send more, or when `send_timeout` has passed. A client that leaves
/// meanwhile ends the request. What ngx_http_set_write_handler(), which is static, does for nginx itself.
///
/// # Errors
/// nginx could not register the event; the request is to be finalized.
pub fn wait_for_write(r: Request<'_>, resume: Resume) -> Result<(), ()> {
    // SAFETY: as in `write_event`.
    unsafe {
        let request = r.as_ptr();
        let writing = nginx_sys::ngx_http_state_e_NGX_HTTP_WRITING_REQUEST_STATE;
        ngx_wsgi_request_set_http_state(request, writing as usize);
        watch_client(r);
        (*request).write_event_handler = Some(resume);
        let wev = (*(*request).connection).write;
        if (*wev).ready() != 0 && (*wev).delayed() != 0 {
            return Ok(());
        }
        // A subrequest whose turn has not come waits for another one, not for the client.
        if (*wev).delayed() == 0 && r.has_turn() {
            ngx_add_timer(wev, r.send_timeout());
        }
        match ngx_handle_write_event(wev, r.core().send_lowat) {
            super::OK => Ok(()),
            _ => Err(()),
        }
    }
}

/// A client that leaves is to end `r`; not if that is done after the response (`post_action`), when any client
/// may leave.
fn watch_client(r: Request<'_>) {
    // SAFETY: the request is live.
    unsafe {
        let request = r.as_ptr();
        let is_after = ngx_wsgi_request_post_action((*request).main) != 0;
        let handler = if is_after { ngx_http_block_reading } else { ngx_http_test_reading };
        (*request).read_event_handler = Some(handler);
    }
}

/// Far longer than a turn of the event loop, in milliseconds.
const GRACE: ngx_msec_t = 60_000;

/// A posted event: how a request that could go on lets others go first.
#[repr(C)]
pub struct Wake {
    event: UnsafeCell<ngx_event_t>,
    resume: Resume,
}

impl Wake {
    /// An event that calls `resume`. Must not move once it has been posted.
    pub fn new(resume: Resume) -> Self {
        // SAFETY: a zeroed event is valid: not posted, no timer.
        Self { event: UnsafeCell::new(unsafe { core::mem::zeroed() }), resume }
    }

    /// Has `resume` called in the next turn of the event loop.
    pub fn post(&self, r: Request<'_>) {
        // The timer is not to be reached.
        let event = self.arm(r, GRACE);
        // SAFETY: the event is initialised; its drop takes it out of the queue.
        unsafe { ngx_post_event(event, &raw mut ngx_posted_next_events) };
    }

    /// Has `resume` called in so many milliseconds, if nothing else happens to the request. A client that
    /// leaves meanwhile ends it.
    pub fn sleep(&self, r: Request<'_>, milliseconds: ngx_msec_t) {
        self.arm(r, milliseconds);
        // SAFETY: the request is live, and so are its connection and events.
        unsafe {
            let request = r.as_ptr();
            let read = (*(*request).connection).read;
            if (*read).pending_eof() != 0
                && (*read).posted() == 0
                && ngx_wsgi_request_post_action((*request).main) == 0
            {
                // The client has left already; no event would tell.
                ngx_post_event(read, &raw mut ngx_posted_events);
            }
        }
    }

    /// Has `resume` called for `r` by this event, whose timer also keeps a worker that quits gracefully: that
    /// waits for timers only.
    fn arm(&self, r: Request<'_>, milliseconds: ngx_msec_t) -> *mut ngx_event_t {
        // SAFETY: the event lives in the request's pool next to the request, and its drop takes it out of
        // the timers.
        unsafe {
            let request = r.as_ptr();
            watch_client(r);
            (*request).write_event_handler = Some(self.resume);
            let event = self.event.get();
            (*event).data = request.cast();
            (*event).handler = Some(fired);
            (*event).log = (*(*request).connection).log;
            (*event).set_timedout(0);
            set_timer(event, milliseconds);
            event
        }
    }

    /// Takes back what `post` and `sleep` have arranged.
    pub fn cancel(&self) {
        // SAFETY: the event is initialised, and only touched on this thread.
        unsafe { forget(self.event.get()) };
    }

    /// Whether the time of `sleep` is over.
    pub fn has_expired(&self) -> bool {
        // SAFETY: the event is only touched on this thread.
        unsafe { (*self.event.get()).timedout() != 0 }
    }

    /// Whether the call is still to come.
    pub fn is_posted(&self) -> bool {
        // SAFETY: the event is only touched on this thread.
        unsafe { (*self.event.get()).posted() != 0 }
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        // SAFETY: a posted event is in a queue of nginx, from which it must vanish before its memory does.
        unsafe { forget(self.event.get()) };
    }
}

/// A timer of a request, with what it is for.
#[repr(C)]
pub struct Timer<T> {
    event: UnsafeCell<ngx_event_t>,
    r: *mut ngx_http_request_t,
    expired: fn(Request<'_>, &Self),
    pub value: T,
}

impl<T> Timer<T> {
    /// A timer that calls `expired`. To be placed in the pool of `r`, so that it goes with the request.
    pub fn new(r: Request<'_>, expired: fn(Request<'_>, &Self), value: T) -> Self {
        // SAFETY: a zeroed event is valid: not posted, no timer.
        let event = UnsafeCell::new(unsafe { core::mem::zeroed() });
        Self { event, r: r.as_ptr(), expired, value }
    }

    /// Sets it, in milliseconds. From here on it must not move.
    pub fn set(&self, milliseconds: ngx_msec_t) {
        // SAFETY: the event lives in the request's pool next to the request, and its drop takes it out of
        // the timers.
        unsafe {
            let event = self.event.get();
            (*event).data = self.r.cast();
            (*event).handler = Some(expired::<T>);
            (*event).log = (*(*self.r).connection).log;
            ngx_add_timer(event, milliseconds);
        }
    }
}

impl<T> Drop for Timer<T> {
    fn drop(&mut self) {
        // SAFETY: a timer is in a tree of nginx, from which it must vanish before its memory does.
        unsafe { forget(self.event.get()) };
    }
}

unsafe extern "C" fn expired<T>(event: *mut ngx_event_t) {
    entry::quietly(|| {
        // SAFETY: the event is the first field of a Timer whose request is alive, since the drop of the
        // Timer would have taken it out of the timers. The connection outlives the request.
        unsafe {
            let timer = &*event.cast::<Timer<T>>();
            let r = Request::from_ptr(timer.r);
            let c = (*timer.r).connection;
            (*(*(*c).log).data.cast::<ngx_http_log_ctx_t>()).current_request = timer.r;
            (timer.expired)(r, timer);
            ngx_http_run_posted_requests(c);
        }
    });
}

/// Sets the timer of an event. nginx itself leaves one alone that is set for nearly the same time.
///
/// # Safety
/// `event` must be complete, and taken out of the timers before its memory goes.
pub(super) unsafe fn set_timer(event: *mut ngx_event_t, milliseconds: ngx_msec_t) {
    // SAFETY: by the contract of this function.
    unsafe {
        if (*event).timer_set() != 0 {
            ngx_del_timer(event);
        }
        ngx_add_timer(event, milliseconds);
    }
}

/// Takes an event out of the queue and of the timers.
///
/// # Safety
/// `event` must be initialised.
pub(super) unsafe fn forget(event: *mut ngx_event_t) {
    // SAFETY: by the contract of this function.
    unsafe {
        if (*event).posted() != 0 {
            ngx_delete_posted_event(event);
        }
        if (*event).timer_set() != 0 {
            ngx_del_timer(event);
        }
    }
}

unsafe extern "C" fn fired(event: *mut ngx_event_t) {
    entry::quietly(|| {
        // SAFETY: the event is the first field of a Wake whose request is alive, since the drop of the
        // Wake would have taken the event out of the queue.
        unsafe {
            forget(event);
            let resume = (*event.cast::<Wake>()).resume;
            let r: *mut ngx_http_request_t = (*event).data.cast();
            enter(Request::from_ptr(r), || resume(r));
        }
    });
}

/// Runs `f`, which concerns `r`, outside of the request's own events. The request may be gone afterwards.
pub fn enter(r: Request<'_>, f: impl FnOnce()) {
    // SAFETY: the request is live. The connection's memory outlives it; nginx looks itself whether the
    // connection is still open.
    unsafe {
        let c = (*r.as_ptr()).connection;
        (*(*(*c).log).data.cast::<ngx_http_log_ctx_t>()).current_request = r.as_ptr();
        f();
        ngx_http_run_posted_requests(c);
    }
}

/// How to wait for a socket without the event loop. Holds no pointers, so it can be waited for detached.
#[derive(Clone, Copy, Debug)]
pub enum Blocking {
    /// Until the socket takes bytes, for at most so many milliseconds.
    Socket { fd: i32, timeout: i32 },
    /// `limit_rate` says how long.
    Delay(ngx_msec_t),
}

impl Blocking {
    /// What to wait for before more of `r` can be sent.
    pub fn new(r: Request<'_>) -> Self {
        // SAFETY: as in `write_event`.
        unsafe {
            let c = (*r.as_ptr()).connection;
            let wev = (*c).write;
            if (*wev).delayed() != 0 {
                let left = (*wev).timer.key.wrapping_sub(ngx_current_msec) as isize;
                return Self::Delay(left.max(0) as ngx_msec_t);
            }
            let timeout = i32::try_from(r.send_timeout()).unwrap_or(i32::MAX);
            Self::Socket { fd: (*c).fd, timeout }
        }
    }

    /// Waits. False if the time is over.
    pub fn wait(self) -> bool {
        match self {
            Self::Delay(milliseconds) => {
                thread::sleep(Duration::from_millis(milliseconds as u64));
                true
            }
            Self::Socket { fd, timeout } => loop {
                let mut poll = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
                // SAFETY: one valid pollfd.
                match unsafe { libc::poll(&mut poll, 1, timeout) } {
                    0 => return false,
                    -1 if std::io::Error::last_os_error().kind()
                        == std::io::ErrorKind::Interrupted => {}
                    // An error shows when nginx sends.
                    _ => return true,
                }
            },
        }
    }

    /// Tells nginx that the waiting is over.
    pub fn done(self, r: Request<'_>) {
        // SAFETY: as in `write_event`.
        unsafe {
            ngx_time_update();
            let wev = (*(*r.as_ptr()).connection).write;
            if let Self::Delay(_) = self {
                (*wev).set_delayed(0);
                if (*wev).timer_set() != 0 {
                    ngx_del_timer(wev);
                }
            }
            (*wev).set_ready(1);
        }
    }
}

/// nginx's clock, in milliseconds since some time.
pub fn now() -> ngx_msec_t {
    // SAFETY: set when nginx starts, and changed on this thread.
    unsafe { ngx_current_msec }
}

/// Sets nginx's clock, by which its timers run.
pub fn update_time() {
    // SAFETY: on nginx's thread, or under a lock of nginx's own.
    unsafe { ngx_time_update() };
}

/// Marks the connection as timed out, as nginx does before it finalizes with 408.
pub fn set_timed_out(r: Request<'_>) {
    // SAFETY: as in `write_event`.
    unsafe { (*(*r.as_ptr()).connection).set_timedout(1) };
}

/// Nobody waits for the socket any more.
pub fn stop_waiting(r: Request<'_>) {
    // SAFETY: as in `write_event`.
    unsafe {
        let wev = (*(*r.as_ptr()).connection).write;
        if (*wev).timer_set() != 0 && (*wev).delayed() == 0 {
            ngx_del_timer(wev);
        }
    }
}

/// Nobody waits for the socket any more, and nobody has.
pub fn disarm(r: Request<'_>) {
    stop_waiting(r);
    // SAFETY: as in `write_event`.
    unsafe { (*(*(*r.as_ptr()).connection).write).set_timedout(0) };
}

/// Stops calling `resume` for `r`, which is about to be finalized. The write event belongs to the
/// connection: what a subrequest leaves there would hit the next one to use it.
pub fn stop(r: Request<'_>) {
    if !r.is_main() && r.has_turn() {
        disarm(r);
    }
    // SAFETY: as in `write_event`.
    unsafe {
        (*r.as_ptr()).write_event_handler = Some(nginx_sys::ngx_http_request_empty_handler);
    }
}
