//! The inbox of this worker: what the threads have for nginx's thread, and the bell that calls it.

use core::cell::RefCell;
use core::sync::atomic::Ordering;
use std::sync::OnceLock;

use crate::error::Error;
use crate::exec::line::Offer;
use crate::exec::name;
use crate::exec::report::Failure;
use crate::handler::{Job, State, Then};
use crate::handover::Inbox;
use crate::nginx::{Bell, Level, entry, hold, log};
use crate::workers::{self, Reason};

use super::bin;
use super::census;
use super::task::{Message, Task};

static INBOX: Inbox<Message> = Inbox::new();
static BELL: OnceLock<Bell> = OnceLock::new();

/// Hangs the bell up in this worker, if that has not been done. False if it failed, which has been logged.
pub fn open() -> bool {
    if BELL.get().is_some() {
        return true;
    }
    match Bell::new() {
        Ok(bell) => {
            log::forward(|level, line| send(Message::Line(level, line)));
            bell.hang(empty).is_ok() && BELL.set(bell).is_ok()
        }
        Err(error) => {
            let text = format!("wsgi: cannot make an eventfd: {error}");
            log::write_line(Level::Error, text.as_bytes());
            false
        }
    }
}

/// Sends a message to nginx's thread.
pub fn send(message: Message) {
    INBOX.push(message);
    ring();
}

/// Calls nginx's thread to what has been sent.
pub fn ring() {
    if let Some(bell) = BELL.get() {
        bell.ring();
    }
}

/// Sends a message that is soon followed by another, or by `ring`.
pub fn send_quietly(message: Message) {
    INBOX.push(message);
}

/// On nginx's thread: does what the messages say.
pub fn empty() {
    thread_local! {
        /// Memory that is used again.
        static MESSAGES: RefCell<Vec<Message>> = const { RefCell::new(Vec::new()) };
    }
    let mut messages = MESSAGES.take();
    INBOX.empty_into(&mut messages);
    for message in messages.drain(..) {
        entry::quietly(|| receive(message));
    }
    // A burst is not to keep its memory.
    messages.shrink_to(1024);
    MESSAGES.set(messages);
}

fn receive(message: Message) {
    match message {
        Message::Call(task) => {
            let is_received = with_job(&task, |job| {
                // SAFETY: on nginx's thread.
                unsafe { task.receive_call() };
                job.drive();
            });
            if !is_received {
                // SAFETY: as above.
                unsafe { task.receive_call() };
            }
        }
        Message::Tell(task, f) => {
            with_job(&task, f);
        }
        Message::Offer(task, offer) => with_offer(&task, Some(offer), Job::drive),
        Message::Log(task, level, failure) => {
            let Failure { text, traceback, .. } = &failure;
            let is_logged =
                with_job(&task, |job| job.request().log().write_all(level, text, traceback));
            if !is_logged {
                log::process_log().write_all(level, text, traceback);
            }
        }
        Message::Line(level, line) => log::write_line(level, &line),
        Message::Replace => workers::replace(Reason::Stuck),
        Message::Imported => workers::start_serving(),
        Message::Leave(task, offer, flight) => {
            if let Some(pool) = &task.service.pool {
                census::leave(pool);
            }
            if task.is_awaited.swap(false, Ordering::Relaxed) {
                hold::let_go();
            }
            with_offer(&task, offer, |job| {
                job.has_left.set(true);
                job.flight.replace(flight);
                if matches!(job.state.get(), State::Sending | State::Draining(Then::Send)) {
                    // A panic of ours, of which the log tells.
                    job.fail(&failure(&task, &Error::Nginx));
                }
                job.drive();
            });
        }
    }
}

/// Runs `f` with the job of `task`. False if the request has ended.
fn with_job(task: &Task, f: impl FnOnce(&Job)) -> bool {
    // SAFETY: on nginx's thread; the job is there when `f` begins.
    match unsafe { task.job() } {
        Some(job) => {
            job.enter(f);
            true
        }
        None => false,
    }
}

/// Gives the job of `task` what its application gave, if anything, and runs `f` with it.
fn with_offer(task: &Task, mut offer: Option<Offer>, f: impl FnOnce(&Job)) {
    with_job(task, |job| {
        if let Some(offer) = offer.take()
            && let Err(error) = job.take(offer)
        {
            job.fail(&failure(task, &error));
        }
        f(job);
    });
    if let Some(offer) = offer {
        bin::discard(task, offer.given.into_blocks());
    }
}

/// An error of nginx's side, in words.
fn failure(task: &Task, error: &Error) -> Failure {
    Failure::new(format!("wsgi: {} {error}", name(&task.service.app)))
}
