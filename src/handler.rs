//! The life of a request, top to bottom.
//!
//! nginx calls the content handler; the body is read; the executor runs the application for as long as the
//! client takes what it yields; when nginx holds something back the request waits for the write event and
//! goes on here. A job is the request's state between these events. It is made by the content handler and
//! lives in the request's pool; whatever ends the request, its drop ends the exchange with Python.

use core::cell::{Cell, OnceCell, RefCell};
use core::ptr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nginx_sys::{ngx_http_request_t, ngx_msec_t};

use crate::conf::{LocationConf, MainConf, Service};
use crate::exec::runner::Runner;
use crate::exec::watchdog::{self, Watch};
use crate::exec::{self, Domain, inline::Inline, threads::Task};
use crate::nginx::event::{self, WriteEvent};
use crate::nginx::{
    self, Code, Flow, Output, Redirect, Request, Spool, Upload, Wake, capture, entry, pool,
    subrequest, upload,
};
use crate::ngx_http_wsgi_module;
use crate::py::PyBlock;
use crate::reactor::{self, Suspension};
use crate::stats::Flight;
use crate::workers;
use crate::wsgi::{Exchange, Meter};

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
    /// The application waits for something else than its client, and a timer runs (reactor/suspension.rs).
    Suspended,
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
    /// What waits in the spool is all that is left of the body.
    End,
    Close(Code),
}

impl From<Then> for State {
    fn from(then: Then) -> Self {
        match then {
            Then::Send | Then::End => Self::Sending,
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
    /// To go on when somebody says so; to be looked after in so many milliseconds.
    Sleep(ngx_msec_t),
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
    /// The body, if it still arrives when the application is called.
    pub upload: RefCell<Option<Upload>>,
    /// What it has in Python, if nginx's thread runs the application.
    pub exchange: RefCell<Option<Exchange<Inline>>>,
    /// What it has of the reactor.
    pub suspension: RefCell<Option<Rc<Suspension>>>,
    /// What a thread has of it, if a pool runs the application.
    pub task: OnceCell<Arc<Task>>,
    /// Whether that thread has done with it.
    pub has_left: Cell<bool>,
    /// The application's file, while nginx sends it for a thread.
    file: RefCell<Option<OwnedFd>>,
    /// What watches that, if the location has time limits.
    watch: OnceCell<(Arc<Runner>, Option<Watch>)>,
    /// Whether the application's file has changed since this worker imported it.
    pub is_stale: Cell<bool>,
    /// The request's line in the status.
    pub flight: RefCell<Flight>,
    /// How long nginx's thread has run the application; `None` if it has not been asked.
    pub run_time: Cell<Option<Duration>>,
    /// Whether it has failed.
    pub has_failed: Cell<bool>,
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

    /// What the location serves. The content handler has refused one without an application.
    pub fn service(&self) -> &Arc<Service> {
        match self.conf().service() {
            Ok(service) => service,
            Err(_) => unreachable!("a job is made for a location with an application"),
        }
    }

    /// The domain of the application, `None` if its interpreter could not be made.
    pub fn domain(&self) -> Option<&'static Domain> {
        if self.domain.get().is_none() {
            self.domain.set(exec::domain(&self.service().app));
        }
        self.domain.get()
    }

    /// The watched run of the application on nginx's thread, if the location has time limits.
    pub fn runner(&self, domain: &'static Domain) -> Option<&Runner> {
        let service = self.service();
        if service.timeout.is_none() && service.slow_log.is_none() {
            return None;
        }
        let (runner, _) = self.watch.get_or_init(|| {
            let runner = Arc::default();
            let line = || self.request().line();
            let watch = watchdog::watch(&runner, service, domain, None, self.conf().stats(), line);
            (runner, watch)
        });
        Some(runner)
    }

    /// How long it waited for a thread: `$wsgi_queue_time`.
    pub fn queue_time(&self) -> Duration {
        self.task.get().map_or(Duration::ZERO, |task| task.queue_time())
    }

    /// How long the application has run: `$wsgi_time`.
    pub fn run_time(&self) -> Duration {
        self.runs_for().unwrap_or_default()
    }

    /// The same; `None` if the application has not been asked.
    fn runs_for(&self) -> Option<Duration> {
        match self.task.get() {
            Some(task) => (!task.is_queued()).then(|| task.runner.clock.read().0),
            None => self.run_time.get(),
        }
    }

    /// Lets go of the blocks that nginx is done with.
    pub fn release(&self) {
        let done = self.output.borrow_mut().release();
        self.let_go(done);
    }

    /// Lets go of blocks: attached, or by way of the threads. Their destructors may come back through
    /// `write()`, so nothing is borrowed when they run.
    pub fn let_go(&self, blocks: Vec<PyBlock>) {
        match self.task.get() {
            Some(task) => exec::threads::let_go(task, blocks),
            None => drop(blocks),
        }
    }

    /// Keeps a file open until nginx has no more use for it.
    pub fn keep_open(&self, file: OwnedFd) {
        self.file.replace(Some(file));
    }

    /// The thread that works for it takes too long, and works for nobody from now on.
    pub fn time_out(&self) {
        let is_answered = self.output.borrow().is_finished()
            || matches!(self.state.get(), State::Draining(Then::End | Then::Close(_)));
        if is_answered || self.is_over() {
            // It is in close(), for which the client does not wait.
            self.has_left.set(true);
            return self.drive();
        }
        self.has_failed.set(true);
        self.finish(if self.is_head_sent() { nginx::ERROR } else { nginx::GATEWAY_TIME_OUT });
    }

    /// The thread that worked for it has panicked.
    pub fn break_off(&self) {
        let rc = if self.is_head_sent() { nginx::ERROR } else { nginx::INTERNAL_SERVER_ERROR };
        self.state.set(State::Closing(rc));
    }

    fn new(r: Request<'_>, conf: &LocationConf) -> Self {
        Self {
            state: Cell::new(State::Reading),
            // SAFETY: the output is part of the job, which lives in the pool of the request.
            output: RefCell::new(unsafe { Output::new(r.as_ptr(), conf.output_buffering.is_on()) }),
            meter: RefCell::default(),
            spool: RefCell::new(None),
            upload: RefCell::new(None),
            exchange: RefCell::new(None),
            suspension: RefCell::new(None),
            task: OnceCell::new(),
            has_left: Cell::new(false),
            file: RefCell::new(None),
            watch: OnceCell::new(),
            is_stale: Cell::new(false),
            flight: RefCell::new(conf.stats().received(r.method(), r.unparsed_uri())),
            run_time: Cell::new(None),
            has_failed: Cell::new(false),
            domain: Cell::new(None),
            r: r.as_ptr(),
            conf,
            wake: Wake::new(resume),
        }
    }

    /// The job of `r`; `None` after an internal redirect has taken the request away from us.
    pub fn of_request<'r>(r: Request<'r>) -> Option<&'r Self> {
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
    pub fn drive(&self) {
        let is_inline = self.service().pool.is_none();
        self.follow_turn(if is_inline {
            exec::inline::run(self)
        } else {
            exec::threads::run(self)
        });
    }

    fn follow_turn(&self, turn: Turn) {
        let r = self.request();
        match turn {
            Turn::Sleep(milliseconds) => {
                exec::keep_in_mind(self);
                if self.state.get() == State::Suspended {
                    // A wake for what is over already would take the timer along.
                    self.wake.cancel();
                }
                self.wake.sleep(r, milliseconds);
                self.listen();
            }
            Turn::Wait => self.wait(),
            Turn::Yield => {
                exec::keep_in_mind(self);
                self.wake.post(r);
            }
            Turn::Finish(rc) => self.finish(rc),
            Turn::Redirect(redirect) => {
                self.stop();
                redirect.follow(r);
            }
        }
    }

    /// Sleeps for so many milliseconds, unless it is woken.
    pub fn sleep(&self, milliseconds: ngx_msec_t) {
        self.wake.sleep(self.request(), milliseconds);
    }

    /// Whether the time is over that it was to sleep for.
    pub fn time_is_over(&self) -> bool {
        self.wake.has_expired()
    }

    fn wait(&self) {
        exec::keep_in_mind(self);
        // Left over from a sleep, it would look like progress.
        self.wake.cancel();
        if event::wait_for_write(self.request(), resume).is_err() {
            return self.finish(nginx::ERROR);
        }
        self.listen();
    }

    /// Who waits for the client also hears of the body, if that still arrives.
    fn listen(&self) {
        if self.is_body_arriving() {
            upload::listen(self.request(), body_comes);
        }
    }

    /// Ends the request, whatever a thread still does for it.
    pub fn finish(&self, rc: Code) {
        self.stop();
        let r = self.request();
        r.finalize(subrequest::spare(r, rc));
    }

    /// Nothing is to come back here.
    fn stop(&self) {
        self.state.set(State::Done);
        exec::threads::abandon(self);
        self.wake.cancel();
        if self.has_request() {
            event::stop(self.request());
            if self.is_body_arriving() {
                upload::stop(self.request());
            }
        }
    }

    /// Whether the request is this job's. nginx may have given it to another one of ours, for an error page,
    /// while the head was sent.
    pub fn has_request(&self) -> bool {
        Self::of_request(self.request()).is_none_or(|job| ptr::eq(job, self))
    }

    /// The last job that `r` was, also after an internal redirect has taken it away from us.
    pub fn last_of<'r>(r: Request<'r>) -> Option<&'r Self> {
        // SAFETY: the pool is that of the request, which is alive.
        let mut jobs = unsafe { pool::all::<Self>(r.pool()) };
        jobs.find(|job| ptr::eq(job.r, r.as_ptr()))
    }

    /// Runs a step of the machine outside of the request's own events.
    pub fn enter(&self, f: impl FnOnce(&Job)) {
        event::enter(self.request(), || step(self, f));
    }

    /// nginx says that the request can go on.
    fn go_on(&self) {
        let r = self.request();
        // While a subrequest has the connection's events nothing else tells that there is more of the body.
        if !self.receive_body() {
            return;
        }
        match self.state.get() {
            State::Draining(then) => match event::write_event(r) {
                WriteEvent::Delayed => self.wait(),
                WriteEvent::TimedOut => {
                    // What a thread still writes goes nowhere.
                    self.output.borrow_mut().abandon();
                    self.state.set(State::Closing(nginx::REQUEST_TIME_OUT));
                    self.drive();
                }
                WriteEvent::Ready => {
                    let flow = self.output.borrow_mut().flush();
                    match flow {
                        Flow::Again => return self.wait(),
                        Flow::Taken => {
                            event::stop_waiting(r);
                            if self.task.get().is_some() {
                                // Before its thread goes on, which can drop them.
                                self.release();
                            }
                            self.drained(then);
                        }
                        Flow::Gone => self.state.set(State::Closing(nginx::ERROR)),
                    }
                    self.drive();
                }
            },
            State::Suspended => self.look_whether_to_wake(),
            // A write event while the wake-up is still to come.
            State::Sending if self.wake.is_posted() => {
                subrequest::pass_turn(r);
            }
            State::Sending if self.task.get().is_some() => {
                self.follow_turn(exec::threads::look_after(self));
            }
            State::Sending => self.drive(),
            // A thread closes the iterable, which may take long.
            State::Closing(_) | State::Redirecting(_) if self.task.get().is_some() => self.drive(),
            State::Reading
            | State::Calling
            | State::Closing(_)
            | State::Redirecting(_)
            | State::Done => {}
        }
    }

    /// nginx has called although the request is suspended.
    fn look_whether_to_wake(&self) {
        let r = self.request();
        if r.has_turn() {
            // What a subrequest has left at the connection is not about this one.
            event::disarm(r);
            capture::push(r);
            if subrequest::pass_turn(r) {
                return;
            }
        }
        // A write event is no reason to go on.
        reactor::wake(self);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        exec::forget(self);
        exec::abandon(self);
        if let Some(time) = self.runs_for() {
            self.conf().stats().finished(time, self.has_failed.get());
        }
    }
}

/// Where nginx hands us a request.
pub unsafe extern "C" fn content_handler(r: *mut ngx_http_request_t) -> Code {
    entry::guard(nginx::INTERNAL_SERVER_ERROR, || {
        // SAFETY: nginx passes a live request.
        let r = unsafe { Request::from_ptr(r) };
        let conf = LocationConf::of_request(r);
        if conf.service().is_err() {
            return nginx::INTERNAL_SERVER_ERROR;
        }
        // SAFETY: the pool is that of the request, which is alive.
        let Some(job) = (unsafe { pool::place(r.pool(), Job::new(r, conf)) }) else {
            return nginx::INTERNAL_SERVER_ERROR;
        };
        job.attach_to(r);
        workers::request_begins();
        // SAFETY: the job lives in the request's pool.
        if !unsafe { r.on_end(request_ends, job) } {
            return nginx::INTERNAL_SERVER_ERROR;
        }
        if conf.streams_body() {
            return r.read_body_unbuffered(body_read);
        }
        // A thread would have a copy, for as long as its application takes.
        if !conf.pass_request_body.is_off() && job.service().pool.is_none() {
            conf.roomy.serve(r, MainConf::body_memory);
        }
        r.read_body(body_read)
    })
}

/// Where nginx tells that the request ends, before it closes the file that the body may be in.
unsafe extern "C" fn request_ends(job: *mut core::ffi::c_void) {
    // SAFETY: the content handler has registered its job.
    let job = unsafe { &*job.cast::<Job>() };
    entry::quietly(|| match job.task.get() {
        Some(_) => exec::threads::conclude(job),
        None => exec::inline::conclude(job),
    });
    entry::quietly(workers::request_ends);
}

/// Where nginx tells that the body is there, or that it has begun to read it.
unsafe extern "C" fn body_read(r: *mut ngx_http_request_t) {
    // SAFETY: nginx passes the live request that `read_body` was called for.
    if let Some(job) = Job::of_request(unsafe { Request::from_ptr(r) }) {
        step(job, |job| {
            if job.conf().streams_body() {
                job.upload.replace(Upload::begin(job.request()));
            }
            job.state.set(State::Calling);
            job.drive();
        });
    }
}

/// Where nginx tells that the request can go on.
unsafe extern "C" fn resume(r: *mut ngx_http_request_t) {
    // SAFETY: nginx passes the live request whose handler this is.
    if let Some(job) = Job::of_request(unsafe { Request::from_ptr(r) }) {
        step(job, Job::go_on);
    }
}

/// Where nginx tells that there is more of the body, or that there will not be.
unsafe extern "C" fn body_comes(r: *mut ngx_http_request_t) {
    // SAFETY: nginx passes the live request whose handler this is.
    if let Some(job) = Job::of_request(unsafe { Request::from_ptr(r) }) {
        step(job, Job::body_event);
    }
}

/// Runs a step of the machine; a panic in it ends the request and nothing else.
fn step(job: &Job, f: impl FnOnce(&Job)) {
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
