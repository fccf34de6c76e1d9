//! A task: what a pool thread has of a request, and all that nginx's thread and the pool thread share.
//!
//! Made when the request is queued. It leads to the job as long as that lives, but only nginx's thread follows
//! the way; the pool thread calls over and waits at the desk.

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::conf::Service;
use crate::exec::Domain;
use crate::exec::line::Offer;
use crate::exec::report::Failure;
use crate::exec::runner::Runner;
use crate::handler::Job;
use crate::handover::{Desk, lock};
use crate::nginx::{Level, OwnedBody};
use crate::stats::{self, Flight};
use crate::wsgi::Snapshot;

use super::upload::{BodyPipe, End};
use super::{Pool, census, inbox};

/// A request in the hands of a pool.
pub struct Task {
    pub service: Arc<Service>,
    pub domain: &'static Domain,
    /// Whether the client wants the head only.
    pub is_head: bool,
    pub queued_at: Instant,
    /// How many nanoseconds it waited for a thread; `QUEUED` until one has it.
    queue_time: AtomicU64,
    pub runner: Arc<Runner>,
    pub stats: stats::App,
    /// Where the body comes over, if it still arrives.
    pub pipe: Option<BodyPipe>,
    /// Only looked at by the thread. Made on nginx's thread and mostly freed there, as malloc likes it.
    pub snapshot: Snapshot,
    hands: Mutex<Hands>,
    job: AtomicPtr<Job>,
    desk: Desk<Call, Answer>,
    is_gone: AtomicBool,
    is_over: AtomicBool,
    /// Whether a worker that quits waits for its thread.
    pub is_awaited: AtomicBool,
}

/// What a thread has in its hands for a request.
struct Hands {
    body: Option<OwnedBody>,
    /// Its line in the status.
    flight: Flight,
    /// What ends the response, until nginx's thread is told that the thread has done as well.
    last: Option<Offer>,
}

/// A queue time that is not known yet.
const QUEUED: u64 = u64::MAX;

/// Something that nginx's thread is to do with the job, while the pool thread waits.
struct Call(*mut (dyn FnMut(&Job) + Send));
// SAFETY: what it points to may be sent, and stays where it is until the call is answered.
unsafe impl Send for Call {}

/// How the request goes on after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The application is to be asked for more.
    Go,
    /// Nothing more is to be sent.
    Over,
    /// The client has taken nothing for `send_timeout`.
    TimedOut,
    /// The client has left.
    Gone,
}

/// What nginx's thread gets from the threads of the worker.
pub enum Message {
    /// A call waits at the desk.
    Call(Arc<Task>),
    /// To be done with the job, if there is still one.
    Tell(Arc<Task>, Box<dyn FnOnce(&Job) + Send>),
    /// Something the application gave; nobody waits for what becomes of it.
    Offer(Arc<Task>, Offer),
    /// A line of a thread for the log.
    Line(Level, Vec<u8>),
    /// The worker is to be replaced, because an application is stuck.
    Replace,
    /// Lines for the log, with the request's context if there is still one.
    Log(Arc<Task>, Level, Failure),
    /// The thread has done with the request: gives what ends the response, and its line in the status back.
    Leave(Arc<Task>, Option<Offer>, Flight),
    /// The applications have been imported.
    Imported,
}

impl Task {
    /// A task for `job`.
    ///
    /// # Safety
    /// `abandon` must be called before the job goes.
    pub unsafe fn new(
        job: &Job,
        domain: &'static Domain,
        snapshot: Snapshot,
        body: Option<OwnedBody>,
        pipe: Option<BodyPipe>,
    ) -> Self {
        Self {
            service: Arc::clone(job.service()),
            domain,
            is_head: job.request().is_head(),
            queued_at: Instant::now(),
            queue_time: AtomicU64::new(QUEUED),
            runner: Arc::default(),
            stats: job.conf().stats(),
            pipe,
            snapshot,
            hands: Mutex::new(Hands { body, flight: job.flight.take(), last: None }),
            job: AtomicPtr::new(ptr::from_ref(job).cast_mut()),
            desk: Desk::new(),
            is_gone: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            is_awaited: AtomicBool::new(false),
        }
    }

    /// For the thread, which has this number and name: takes the request, once, and gives its body.
    pub fn begin(&self, number: u32, name: &str) -> Option<OwnedBody> {
        let queue_time = self.queued_at.elapsed();
        let nanoseconds = u64::try_from(queue_time.as_nanos()).unwrap_or(QUEUED - 1);
        self.queue_time.store(nanoseconds, Ordering::Release);
        self.stats.unqueued();
        self.stats.waited(queue_time);
        self.stats.busy();
        let mut hands = lock(&self.hands);
        hands.flight.runs_in(number, name);
        hands.body.take()
    }

    /// For the thread: what ends the response. It goes to nginx's thread with whatever comes next.
    pub fn end_with(&self, offer: Offer) {
        lock(&self.hands).last = Some(offer);
    }

    /// For the thread, which has done with it: what ends the response, if that has not gone, and its line in
    /// the status.
    pub fn leave(&self) -> (Option<Offer>, Flight) {
        self.stats.idle();
        let mut hands = lock(&self.hands);
        hands.flight.leaves_thread();
        (hands.last.take(), core::mem::take(&mut hands.flight))
    }

    /// Has what ends the response go before a message that is to follow.
    pub fn give_last(self: &Arc<Self>) {
        let last = lock(&self.hands).last.take();
        if let Some(offer) = last {
            inbox::send_quietly(Message::Offer(Arc::clone(self), offer));
        }
    }

    /// For its line in the status.
    fn set_state(&self, state: stats::State) {
        lock(&self.hands).flight.set_state(state);
    }

    /// How long it has waited for a thread.
    pub fn queue_time(&self) -> Duration {
        match self.queue_time.load(Ordering::Acquire) {
            QUEUED => self.queued_at.elapsed(),
            nanoseconds => Duration::from_nanos(nanoseconds),
        }
    }

    /// Whether no thread has taken it.
    pub fn is_queued(&self) -> bool {
        self.queue_time.load(Ordering::Acquire) == QUEUED
    }

    /// Whether the request has ended.
    pub fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }

    /// Whether nothing more is to be sent.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire) || self.is_gone()
    }

    /// For the thread: has nginx's thread run `f` with the job, and waits until the request can go on. To be
    /// called detached. No result if the request has ended.
    pub fn call<R: Send>(
        self: &Arc<Self>,
        f: impl FnOnce(&Job) -> R + Send,
    ) -> (Option<R>, Answer) {
        if self.is_gone() {
            return (None, Answer::Gone);
        }
        self.give_last();
        let (mut f, mut result) = (Some(f), None);
        let mut run = |job: &Job| result = f.take().map(|f| f(job));
        let run: &mut (dyn FnMut(&Job) + Send) = &mut run;
        // SAFETY: only the lifetime changes. Nobody follows the pointer once the call has been answered,
        // which is waited for, and no answer comes while it is followed.
        let run = unsafe {
            core::mem::transmute::<
                &mut (dyn FnMut(&Job) + Send + '_),
                &mut (dyn FnMut(&Job) + Send + 'static),
            >(run)
        };
        self.set_state(stats::State::Sending);
        let answer = self.runner.pause(|| {
            self.desk.place(Call(run));
            inbox::send(Message::Call(Arc::clone(self)));
            self.desk.wait()
        });
        self.set_state(stats::State::Running);
        if answer != Answer::Go {
            self.is_over.store(true, Ordering::Release);
        }
        (result, answer)
    }

    /// The job, while the request lives.
    ///
    /// # Safety
    /// To be called on nginx's thread; the job may go with any call into nginx.
    pub unsafe fn job(&self) -> Option<&Job> {
        // SAFETY: `abandon` empties it before the job goes, on the same thread.
        unsafe { self.job.load(Ordering::Relaxed).as_ref() }
    }

    /// For nginx's thread: does the call that waits with the job, or answers that there is none.
    ///
    /// # Safety
    /// To be called on nginx's thread.
    pub unsafe fn receive_call(&self) {
        // SAFETY: on nginx's thread.
        self.desk.attend(|call| match unsafe { self.job() } {
            // SAFETY: the thread that placed the call waits, so what it points to is there, and nobody else
            // touches it; it gets no answer before this is over.
            Some(job) => unsafe { (*call.0)(job) },
            None => self.desk.answer(Answer::Gone),
        });
    }

    /// For nginx's thread: answers the call that was received, if there is one.
    pub fn answer(&self, answer: Answer) {
        self.desk.answer(answer);
    }

    /// For nginx's thread: puts it into the queue.
    pub fn queue(self: &Arc<Self>, pool: &Arc<Pool>) {
        self.stats.queued();
        self.set_state(stats::State::Queued);
        census::enter(pool);
        pool.queue().push(Arc::clone(self));
        pool.rouse_later();
    }

    /// Takes it out of the queue again. False if it is not there any more.
    pub fn withdraw(self: &Arc<Self>) -> bool {
        let is_out = self.service.pool.as_ref().is_some_and(|pool| pool.withdraw(self));
        if is_out {
            self.stats.unqueued();
        }
        is_out
    }

    /// For nginx's thread: the request ends. Whoever works for it finds out. True if nobody does, and nobody
    /// will.
    pub fn abandon(self: &Arc<Self>) -> bool {
        if self.job.swap(ptr::null_mut(), Ordering::Relaxed).is_null() {
            return true;
        }
        self.is_gone.store(true, Ordering::Release);
        let was_queued = self.is_queued() && self.withdraw();
        self.desk.answer(Answer::Gone);
        self.end_body();
        was_queued
    }

    /// Nobody is to wait for the body any more.
    pub fn end_body(&self) {
        if let Some(pipe) = &self.pipe {
            pipe.end(End::Gone);
        }
    }
}
