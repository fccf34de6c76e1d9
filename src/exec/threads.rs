//! The thread executor: a pool of threads runs the application, nginx's thread never waits for the GIL.
//!
//! nginx's thread takes down what the application is to be told (a snapshot), queues a task, and goes on with
//! other requests. A pool thread runs the same slice as the inline executor; what that gives comes over as
//! messages, one bell for all of them, and becomes of it what becomes of it inline (sending.rs). A thread that
//! has given a block waits at its task's desk until the block is with the kernel.

mod bin;
mod census;
mod inbox;
mod pool;
mod run;
mod task;
mod upload;

use core::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nginx_sys::ngx_msec_t;

use crate::conf::MainConf;
use crate::error::Error;
use crate::handler::{Job, State, Then, Turn};
use crate::nginx::{self, Code, Level, OwnedBody, hold};
use crate::py::PyBlock;
use crate::stats::Rejection;
use crate::wsgi::{App, Snapshot};

use super::{Domain, name, parts, watchdog};

pub use pool::{DEFAULT_QUEUE, Pool};
pub use run::Threaded;
pub use task::Task;

use task::{Answer, Message};
use upload::BodyPipe;

/// How long a request sleeps before it looks again whether it is still wanted, in milliseconds.
const NAP: ngx_msec_t = 60_000;

/// What a client is told to wait for when there is no room, in seconds.
const RETRY_AFTER: &[u8] = b"1";

/// Starts the pools of `conf`. `apps` are imported by the first thread of all; false if it could not start.
pub fn start(conf: &MainConf, apps: Vec<(Arc<App>, &'static Domain)>) -> bool {
    let Some(interpreter) = crate::py::Interpreter::main() else { return false };
    if conf.pools.is_empty() || !inbox::open() {
        return false;
    }
    for (app, pool) in &conf.threaded {
        let (threads, _) = pool.load();
        conf.stats_of(app).set_threads(threads as u32);
    }
    let mut apps = Some(apps);
    let mut is_importing = false;
    // A pool that no location uses has no other owner than the configuration.
    for pool in conf.pools.iter().filter(|pool| Arc::strong_count(&pool.value) > 1) {
        let own = apps.take();
        let is_first = own.is_some();
        let has_threads =
            pool.value.start(interpreter, move || own.into_iter().for_each(run::import));
        is_importing |= is_first && has_threads;
    }
    is_importing
}

/// A turn of `job`: hands it to its pool, or answers the thread that works for it.
pub fn run(job: &Job) -> Turn {
    let state = job.state.get();
    let Some(task) = job.task.get() else {
        return match state {
            State::Calling => submit(job),
            State::Closing(rc) => Turn::Finish(rc),
            _ => Turn::Finish(nginx::ERROR),
        };
    };
    // Nobody comes back for one that has been concluded.
    let has_left = job.has_left.get() || task.is_gone();
    match state {
        State::Draining(then) => {
            if job.may_go_ahead() {
                task.answer(if then == Then::Send { Answer::Go } else { Answer::Over });
            }
            return Turn::Wait;
        }
        State::Closing(rc) if has_left => return Turn::Finish(rc),
        State::Redirecting(redirect) if has_left => return Turn::Redirect(redirect),
        State::Closing(nginx::REQUEST_TIME_OUT) => task.answer(Answer::TimedOut),
        State::Closing(_) if job.output.borrow().is_gone() => task.answer(Answer::Gone),
        State::Closing(_) | State::Redirecting(_) | State::Done => task.answer(Answer::Over),
        // Only nginx's own thread suspends.
        State::Reading | State::Calling | State::Sending | State::Suspended => {
            task.answer(Answer::Go);
        }
    }
    if job.is_over() {
        task.end_body();
    }
    Turn::Sleep(nap(job))
}

/// A sleeping request wakes: has it waited too long?
pub fn look_after(job: &Job) -> Turn {
    match (job.task.get(), queue_time_left(job)) {
        (Some(task), Some(0)) if task.withdraw() => {
            let timeout = job.service().queue_timeout.unwrap_or_default() as f64 / 1000.0;
            let name = name(&job.service().app);
            refuse(job, Rejection::Late, || {
                format!(
                    "{name}: a request waited longer than {timeout} s for a thread (wsgi_queue_timeout), 503"
                )
            })
        }
        _ => Turn::Sleep(nap(job)),
    }
}

/// The request ends before its thread is done: the client has left, or nginx has given it up.
pub fn conclude(job: &Job) {
    if let Some(task) = job.task.get() {
        let was_queued = task.abandon();
        if !was_queued && job.state.get() != State::Done && !job.has_left.get() {
            // Not while close() runs for a response that is complete.
            // Borrowed: a filter ends the request inside our own turn.
            let is_finished = job.output.try_borrow().is_ok_and(|output| output.is_finished());
            if matches!(job.state.get(), State::Sending | State::Draining(Then::Send))
                && !is_finished
            {
                watchdog::client_left(task);
            }
            // The work is to come to its end, with or without the client.
            if !job.request().is_cut_off() && !task.is_awaited.swap(true, Ordering::Relaxed) {
                hold::hold();
            }
        }
    }
}

/// Ends what a thread may still do for `job`, whose request ends.
pub fn abandon(job: &Job) {
    if let Some(task) = job.task.get() {
        task.abandon();
    }
}

/// An application in a thread has run for too long: its client is answered without it.
pub fn time_out(task: &Arc<Task>) {
    // It may have answered already, and be busy with what is left.
    task.give_last();
    inbox::send(Message::Tell(Arc::clone(task), Box::new(Job::time_out)));
}

/// Has this worker replaced. May be called on any thread.
pub fn replace_worker() {
    inbox::send(Message::Replace);
}

/// The process ends: waits for the threads that are inside applications. False if some still are after `limit`.
pub fn quiesce(limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while pool::busy_threads() > 0 {
        if Instant::now() >= deadline {
            return false;
        }
        // Some wait for answers.
        inbox::empty();
        thread::sleep(Duration::from_millis(2));
    }
    // What they had to say.
    inbox::empty();
    true
}

/// Lets go of blocks that nginx is done with.
pub fn let_go(task: &Task, blocks: Vec<PyBlock>) {
    bin::discard(task, blocks);
}

fn submit(job: &Job) -> Turn {
    let service = job.service();
    let Some(pool) = &service.pool else { return Turn::Finish(nginx::ERROR) };
    if !pool.queue().has_room() {
        let (threads, load) = pool.load();
        let title = pool.title();
        return refuse(job, Rejection::Full, || {
            let waiting = load.waiting;
            format!("the queue of {title} is full ({threads} threads, {waiting} waiting), 503")
        });
    }
    match prepare(job) {
        Ok(task) => {
            job.task.get_or_init(|| task).queue(pool);
            job.state.set(State::Sending);
            Turn::Sleep(nap(job))
        }
        Err(error) => {
            let text = format!("wsgi: {} {error}", name(&service.app));
            job.request().log().write(Level::Error, text);
            Turn::Finish(nginx::INTERNAL_SERVER_ERROR)
        }
    }
}

fn prepare(job: &Job) -> Result<Arc<Task>, Error> {
    let (r, conf) = (job.request(), job.conf());
    let domain = job.domain().ok_or(Error::NoInterpreter)?;
    if !job.service().pool.as_ref().is_some_and(|pool| pool.is_started()) {
        // A single process that has read its configuration again.
        if let Some(main) = MainConf::of_cycle(crate::nginx::Request::cycle()) {
            start(main, Vec::new());
        }
    }
    if !job.service().pool.as_ref().is_some_and(|pool| pool.has_threads()) {
        return Err(Error::NoThreads);
    }
    parts::find_constants(r, job.service());
    let pipe = job.is_body_arriving().then(BodyPipe::new);
    let snapshot = parts::with(r, conf, |mut parts| {
        if pipe.is_some() {
            parts.content_length = r.announced_length();
        } else if conf.streams_body() && r.is_chunked() {
            // Whether it has come already must make no difference.
            parts.content_length = None;
        }
        Ok(Snapshot::new(parts))
    })?;
    let body = if conf.pass_request_body.is_off() { Ok(None) } else { OwnedBody::of(r) };
    let body = body.map_err(|error| {
        r.log().write(Level::Error, format!("wsgi: dup() of the body's file failed: {error}"));
        Error::Nginx
    })?;
    // SAFETY: the job's drop abandons its task.
    Ok(Arc::new(unsafe { Task::new(job, domain, snapshot, body, pipe) }))
}

/// Answers 503 in place of the application. `text`: what the log is told, once a second.
fn refuse(job: &Job, why: Rejection, text: impl FnOnce() -> String) -> Turn {
    let r = job.request();
    job.conf().stats().rejected(why);
    if let Some(more) = job.service().pool.as_ref().and_then(|pool| pool.complain(why)) {
        r.log().write(Level::Error, format!("wsgi: {}{more}", text()));
    }
    r.set_header(b"Retry-After", RETRY_AFTER);
    let rc: Code = nginx::SERVICE_UNAVAILABLE;
    job.state.set(State::Closing(rc));
    Turn::Finish(rc)
}

/// How long to sleep, in milliseconds.
fn nap(job: &Job) -> ngx_msec_t {
    queue_time_left(job).filter(|left| *left > 0).map_or(NAP, |left| left.min(NAP))
}

/// How many milliseconds the request may still wait for a thread; `None`: there is no limit, or a thread has it.
fn queue_time_left(job: &Job) -> Option<ngx_msec_t> {
    let limit = job.service().queue_timeout?;
    let task = job.task.get().filter(|task| task.is_queued())?;
    let waited = task.queued_at.elapsed().as_millis() as ngx_msec_t;
    Some(limit.saturating_sub(waited))
}
