//! The life of a request, top to bottom.
//!
//! nginx calls the content handler; the body is read; the executor runs the application for as long as the
//! client takes what it yields; when nginx holds something back the request waits for the write event and
//! goes on here. A job is the request's state between these events. It is made by the content handler and
//! lives in the request's pool; whatever ends the request, its drop ends the exchange with Python.

use core::cell::{Cell, RefCell};
use core::ptr;

use nginx_sys::ngx_http_request_t;

use crate::conf::LocationConf;
use crate::exec::{self, Domain, inline::Inline};
use crate::nginx::event::{self, WriteEvent};
use crate::nginx::{self, Code, Flow, Output, Redirect, Request, Spool, Wake, entry, pool};
use crate::ngx_http_wsgi_module;
use crate::py::PyBlock;
use crate::wsgi::{App, Exchange, Meter};

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// nginx reads the body.
    Reading,
    /// The application is to be called.
    Calling,
    /// The application is to be asked for the next block; the previous one is with the kernel.
    Sending,
    /// nginx holds bytes, and says by the write event when they are gone.
    Draining(Then),
    /// Nothing more is to be sent: `close()`, then finalize with this code.
    Closing(Code),
    /// Nothing is to be sent: `close()`, then nginx goes on elsewhere (X-Accel-Redirect).
    Redirecting(Redirect),
    /// Finalized.
    Done,
}

/// What follows on draining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Send,
    Close(Code),
}

impl From<Then> for State {
    fn from(then: Then) -> Self {
        match then {
            Then::Send => Self::Sending,
            Then::Close(rc) => Self::Closing(rc),
        }
    }
}

/// What an executor asks for at the end of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// To go on when the socket takes bytes.
    Wait,
    /// To go on after the other events of the loop.
    Yield,
    /// To finalize the request.
    Finish(Code),
    /// To give the request away.
    Redirect(Redirect),
}

/// A request while this module has it. The parts are borrowed separately and briefly, because a slice
/// of Python may come back through `write()`.
pub struct Job {
    pub state: Cell<State>,
    pub output: RefCell<Output<PyBlock>>,
    pub meter: RefCell<Meter>,
    /// What `write()` could not send at once. Boxed, because hardly a request has one.
    pub spool: RefCell<Option<Box<Spool>>>,
    pub exchange: RefCell<Option<Exchange<Inline>>>,
    /// Whether the application's file has changed since this worker imported it.
    pub is_stale: Cell<bool>,
    domain: Cell<Option<&'static Domain>>,
    r: *mut ngx_http_request_t,
    conf: *const LocationConf,
    wake: Wake,
}

impl Job {
    /// The request.
    pub fn request(&self) -> Request<'_> {
        // SAFETY: the job lives in the pool of the request.
        unsafe { Request::from_ptr(self.r) }
    }

    /// The location's configuration.
    pub fn conf(&self) -> &LocationConf {
        // SAFETY: a configuration lives as long as there are requests of it.
        unsafe { &*self.conf }
    }

    /// The application. The content handler has refused a location without one.
    pub fn app(&self) -> &App {
        match self.conf().app() {
            Some(app) => app,
            None => unreachable!("a job is made for a location with an application"),
        }
    }

    /// The domain of the application, `None` if its interpreter could not be made.
    pub fn domain(&self) -> Option<&'static Domain> {
        if self.domain.get().is_none() {
            self.domain.set(exec::domain(self.app()));
        }
        self.domain.get()
    }

    /// Lets go of the blocks that nginx is done with. To be called attached; their destructors may come
    /// back through `write()`, so nothing is borrowed when they run.
    pub fn release(&self) {
        let done = self.output.borrow_mut().release();
        drop(done);
    }

    fn new(r: Request<'_>, conf: &LocationConf) -> Self {
        Self {
            state: Cell::new(State::Reading),
            // SAFETY: the output is part of the job, which lives in the pool of the request.
            output: RefCell::new(unsafe { Output::new(r.as_ptr(), conf.output_buffering.is_on()) }),
            meter: RefCell::default(),
            spool: RefCell::new(None),
            exchange: RefCell::new(None),
            is_stale: Cell::new(false),
            domain: Cell::new(None),
            r: r.as_ptr(),
            conf,
            wake: Wake::new(resume),
        }
    }

    /// The job of `r`; `None` after an internal redirect has taken the request away from us.
    fn of_request<'r>(r: Request<'r>) -> Option<&'r Self> {
        // SAFETY: contexts are indexed by module; ours is null or a Job in the request's pool.
        unsafe { (*(*r.as_ptr()).ctx.add(ngx_http_wsgi_module.ctx_index)).cast::<Self>().as_ref() }
    }

    fn attach_to(&self, r: Request<'_>) {
        // SAFETY: as above.
        unsafe {
            *(*r.as_ptr()).ctx.add(ngx_http_wsgi_module.ctx_index) =
                ptr::from_ref(self).cast_mut().cast();
        }
    }

    /// Runs the application until it has to wait, and arranges what it waits for. The job may be gone
    /// afterwards.
    fn drive(&self) {
        let r = self.request();
        match exec::inline::run(self) {
            Turn::Wait => self.wait(),
            Turn::Yield => {
                exec::keep_in_mind(self);
                self.wake.post(r);
            }
            Turn::Finish(rc) => self.finish(rc),
            Turn::Redirect(redirect) => {
                self.state.set(State::Done);
                event::stop(r);
                redirect.follow(r);
            }
        }
    }

    fn wait(&self) {
        exec::keep_in_mind(self);
        if event::wait_for_write(self.request(), resume).is_err() {
            self.finish(nginx::ERROR);
        }
    }

    fn finish(&self, rc: Code) {
        self.state.set(State::Done);
        event::stop(self.request());
        self.request().finalize(rc);
    }

    /// nginx says that the request can go on.
    fn go_on(&self) {
        let r = self.request();
        match self.state.get() {
            State::Draining(then) => match event::write_event(r) {
                WriteEvent::Delayed => self.wait(),
                WriteEvent::TimedOut => {
                    self.state.set(State::Closing(nginx::REQUEST_TIME_OUT));
                    self.drive();
                }
                WriteEvent::Ready => {
                    let flow = self.output.borrow_mut().flush();
                    match flow {
                        Flow::Again => return self.wait(),
                        Flow::Taken => {
                            event::stop_waiting(r);
                            self.state.set(then.into());
                        }
                        Flow::Gone => self.state.set(State::Closing(nginx::ERROR)),
                    }
                    self.drive();
                }
            },
            // A write event while the wake-up is still to come.
            State::Sending if self.wake.is_posted() => {}
            State::Sending => self.drive(),
            State::Reading
            | State::Calling
            | State::Closing(_)
            | State::Redirecting(_)
            | State::Done => {}
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        exec::forget(self);
        exec::inline::abandon(self);
    }
}

/// Where nginx hands us a request.
pub unsafe extern "C" fn content_handler(r: *mut ngx_http_request_t) -> Code {
    entry::guard(nginx::INTERNAL_SERVER_ERROR, || {
        // SAFETY: nginx passes a live request.
        let r = unsafe { Request::from_ptr(r) };
        let conf = LocationConf::of_request(r);
        if conf.app().is_none() {
            return nginx::INTERNAL_SERVER_ERROR;
        }
        // SAFETY: the pool is that of the request, which is alive.
        let Some(job) = (unsafe { pool::place(r.pool(), Job::new(r, conf)) }) else {
            return nginx::INTERNAL_SERVER_ERROR;
        };
        job.attach_to(r);
        // SAFETY: the job lives in the request's pool.
        if !unsafe { r.on_end(request_ends, job) } {
            return nginx::INTERNAL_SERVER_ERROR;
        }
        r.read_body(body_read)
    })
}

/// Where nginx tells that the request ends, before it closes the file that the body may be in.
unsafe extern "C" fn request_ends(job: *mut core::ffi::c_void) {
    // SAFETY: the content handler has registered its job.
    entry::quietly(|| exec::inline::conclude(unsafe { &*job.cast::<Job>() }));
}

/// Where nginx tells that the body is there.
unsafe extern "C" fn body_read(r: *mut ngx_http_request_t) {
    // SAFETY: nginx passes the live request that `read_body` was called for.
    step(unsafe { Request::from_ptr(r) }, |job| {
        job.state.set(State::Calling);
        job.drive();
    });
}

/// Where nginx tells that the request can go on.
unsafe extern "C" fn resume(r: *mut ngx_http_request_t) {
    // SAFETY: nginx passes the live request whose handler this is.
    step(unsafe { Request::from_ptr(r) }, Job::go_on);
}

/// Runs a step of the machine; a panic in it ends the request and nothing else.
fn step(r: Request<'_>, f: impl FnOnce(&Job)) {
    let Some(job) = Job::of_request(r) else { return };
    let ended = entry::guard(false, || {
        #[cfg(debug_assertions)]
        crate::py::panic::at_step();
        f(job);
        true
    });
    if !ended {
        // The panic may have come from anywhere but from finalizing: what that runs of ours, a second
        // application on an error page for example, has guards of its own.
        let is_head_sent = job.output.try_borrow().is_ok_and(|output| output.is_head_sent());
        let rc = if is_head_sent { nginx::ERROR } else { nginx::INTERNAL_SERVER_ERROR };
        job.finish(rc);
    }
}
