//! What a thread of a pool does: takes a request, runs the application for it, takes the next.

use core::cell::{Cell, RefCell};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::thread;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::error::Error;
use crate::exec::line::{Given, Line, Offer};
use crate::exec::report::Failure;
use crate::exec::sending::length;
use crate::exec::slice::Slice;
use crate::exec::writing::{Refused, Written};
use crate::exec::{Domain, report, watchdog};
use crate::handler::{Job, State, Turn};
use crate::handover::{Bed, Queue};
use crate::nginx::{self, Flow, Level, entry};
use crate::py::{Interpreter, PyBlock};
use crate::wsgi::{App, Draft, Exchange, Host, LineLog, Writer};

use super::task::{Answer, Message, Task};
use super::upload::TaskBody;
use super::{bin, inbox};

/// Blocks that end a response are copied, if they are not more than this many bytes together, and the thread
/// is free while nginx sends them. It waits for more than that, so that slow clients cannot make an application
/// pile up memory.
const COPY_UP_TO: u64 = 64 * 1024;

/// The gateway's types of this executor.
pub struct Threaded;

impl Host for Threaded {
    type Writer = TaskWriter;
    type Log = TaskLog;
    type Body = TaskBody;
    const HAS_THREADS: bool = true;
}

/// `wsgi.errors` of one request.
pub struct TaskLog(Arc<Task>);

impl LineLog for TaskLog {
    fn line(&self, line: &[u8]) {
        let line = format!("wsgi: {}", String::from_utf8_lossy(line));
        inbox::send(Message::Log(Arc::clone(&self.0), Level::Error, Failure::new(line)));
    }

    fn end(&self) {}
}

/// `write()` of one request.
pub struct TaskWriter {
    task: Arc<Task>,
    thread: thread::ThreadId,
}

impl Writer for TaskWriter {
    fn write(&self, py: Python<'_>, draft: &Draft, block: PyBlock) -> PyResult<()> {
        if thread::current().id() != self.thread {
            return Err(PyRuntimeError::new_err(
                "write() must be called in the thread that runs the application",
            ));
        }
        let written = Written::new(draft, &self.task.service, block)?;
        let write = |job: &Job| {
            let flow = job.write(written, true)?;
            if !job.is_over() && flow == Flow::Again {
                job.wait_for_written();
            }
            Ok(())
        };
        let result: (Option<Result<(), Refused>>, _) = py.detach(|| self.task.call(write));
        bin::empty(py);
        Ok(match result {
            (_, Answer::TimedOut) => Err(Refused::TimedOut),
            (_, Answer::Gone) | (None, _) => Err(Refused::ClientGone),
            (Some(result), Answer::Go | Answer::Over) => result,
        }?)
    }

    fn discard(&self) {
        let tell = Box::new(Job::discard_written);
        inbox::send(Message::Tell(Arc::clone(&self.task), tell));
    }

    fn is_client_gone(&self) -> bool {
        self.task.is_gone()
    }

    fn end(&self) {}
}

/// The line of a slice in a thread.
struct TaskLine {
    task: Arc<Task>,
    state: Cell<State>,
}

impl Line for TaskLine {
    type Host = Threaded;

    fn state(&self) -> State {
        if self.task.is_over() { State::Closing(nginx::OK) } else { self.state.get() }
    }

    fn set(&self, state: State) {
        self.state.set(state);
    }

    fn is_head(&self) -> bool {
        self.task.is_head
    }

    fn begin(&self, py: Python<'_>) {
        self.task.runner.begin(py);
    }

    fn give(&self, py: Python<'_>, offer: Offer) -> Result<(), Error> {
        if let Given::All(blocks) = &offer.given
            && length(blocks) <= COPY_UP_TO
        {
            let copies = if blocks.is_empty() { Vec::new() } else { vec![PyBlock::join(blocks)] };
            self.task.end_with(Offer { given: Given::All(copies), ..offer });
            self.set(State::Closing(nginx::OK));
            return Ok(());
        }
        let file = match offer.given {
            // The application may close its file while nginx still sends it.
            Given::File { fd, .. } => {
                // SAFETY: the application's file is open until its close() is called.
                Some(
                    unsafe { BorrowedFd::borrow_raw(fd) }
                        .try_clone_to_owned()
                        .map_err(PyErr::from)?,
                )
            }
            _ => None,
        };
        let take = |job: &Job| match (offer.given, file) {
            (Given::File { offset, length, .. }, Some(file)) => {
                let fd = file.as_raw_fd();
                job.keep_open(file);
                job.take(Offer { head: offer.head, given: Given::File { fd, offset, length } })
            }
            (given, _) => job.take(Offer { head: offer.head, given }),
        };
        let task = &self.task;
        let (result, _) = py.detach(|| task.call(take));
        bin::empty(py);
        result.unwrap_or(Ok(()))
    }

    fn fail(&self, failure: Failure) {
        self.task.give_last();
        let message = if self.task.is_gone() {
            Message::Log(Arc::clone(&self.task), Level::Info, failure)
        } else {
            let fail = Box::new(move |job: &Job| job.fail(&failure));
            Message::Tell(Arc::clone(&self.task), fail)
        };
        inbox::send(message);
        self.set(State::Closing(nginx::ERROR));
    }

    fn tell(&self, f: impl FnOnce(&Job) + Send + 'static) {
        inbox::send(Message::Tell(Arc::clone(&self.task), Box::new(f)));
    }
}

/// A thread's life, from its first request to its last.
pub fn work(interpreter: &'static Interpreter, queue: &Queue<Task>, number: u32) {
    let thread = thread::current();
    let name = thread.name().unwrap_or("wsgi");
    let bed = Bed::new();
    while queue.wait(&bed) {
        // Taken before a request is, so that threads that wait for it hold up none.
        interpreter.enter(|py| {
            let mut next = queue.next(false);
            // It may have been called for that alone.
            bin::empty(py);
            while let Some(task) = next {
                let is_served = entry::guard(false, || {
                    serve(&task, number, name);
                    true
                });
                if !is_served {
                    task.give_last();
                    inbox::send_quietly(Message::Tell(Arc::clone(&task), Box::new(Job::break_off)));
                }
                let (last, flight) = task.leave();
                // First it counts as free, or has another: a client that has its answer may come again at once.
                next = queue.next(true);
                inbox::send(Message::Leave(task, last, flight));
                bin::empty(py);
            }
        });
    }
}

/// Imports applications before any request for them comes.
pub fn import(apps: Vec<(Arc<App>, &'static Domain)>) {
    for (app, domain) in apps {
        domain.interpreter.enter(|py| {
            if let Err(error) = app.callable(py, domain.interpreter, false) {
                let failure = report::describe(py, domain, &app, &error);
                nginx::log::process_log().write_all(
                    Level::Error,
                    &failure.text,
                    &failure.traceback,
                );
            }
        });
    }
    inbox::send(Message::Imported);
}

/// Tells an interpreter, once, how this thread is called.
fn introduce(py: Python<'_>, domain: &'static Domain) {
    thread_local! {
        static KNOWN: RefCell<Vec<*const Domain>> = const { RefCell::new(Vec::new()) };
    }
    let domain_ptr = core::ptr::from_ref(domain);
    let is_known = KNOWN.with_borrow(|known| known.contains(&domain_ptr));
    if !is_known {
        KNOWN.with_borrow_mut(|known| known.push(domain_ptr));
        let thread = thread::current();
        let name = thread.name().unwrap_or("wsgi");
        if let Err(error) = domain.interpreter.package().name_thread(py, name) {
            error.write_unraisable(py, None);
        }
    }
}

fn serve(task: &Arc<Task>, number: u32, name: &str) {
    let body = task.begin(number, name);
    if task.is_gone() {
        return;
    }
    let title = || task.snapshot.request_line();
    let _watch =
        watchdog::watch(&task.runner, &task.service, task.domain, Some(task), task.stats, title);
    task.domain.interpreter.enter(|py| {
        introduce(py, task.domain);
        let line = TaskLine { task: Arc::clone(task), state: Cell::new(State::Calling) };
        let gateway = &task.domain.threaded;
        let writer = TaskWriter { task: Arc::clone(task), thread: thread::current().id() };
        let log = TaskLog(Arc::clone(task));
        let exchange = match Exchange::new(py, gateway, writer, log, TaskBody::new(task, body)) {
            Ok(exchange) => exchange,
            Err(error) => {
                let error = Error::Raised(error);
                return line.fail(report::describe(py, task.domain, &task.service.app, &error));
            }
        };
        let slice = Slice {
            py,
            domain: task.domain,
            gateway,
            service: &task.service,
            exchange: &exchange,
            line: &line,
        };
        let environ =
            |template: &_| Ok(exchange.environ(py, gateway, template, task.snapshot.parts())?);
        loop {
            match exchange.slice(py, || slice.run(environ)) {
                Ok(Some(Turn::Yield)) => py.detach(thread::yield_now),
                Ok(_) => break,
                Err(error) => break slice.fail(&Error::Raised(error)),
            }
        }
        if !exchange.is_closed() {
            // close() may take long, and nginx has something to send.
            task.give_last();
            inbox::ring();
        }
        task.runner.closes(py);
        if let Err(raised) = exchange.end(py, gateway) {
            let failure = report::describe_close(py, task.domain, &task.service.app, &raised);
            inbox::send(Message::Log(Arc::clone(task), Level::Error, failure));
        }
        exchange.give_back(py, gateway);
        task.runner.end(py);
        // Another thread of the application may be reading.
        task.end_body();
    });
}
