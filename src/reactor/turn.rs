//! A turn of the reactor: Python is called for what has happened in a turn of nginx's event loop.

use core::cell::Cell;
use core::time::Duration;
use std::time::Instant;

use pyo3::prelude::*;

use crate::conf::LocationConf;
use crate::nginx::{Level, Request, entry, log};
use crate::py::Interpreter;

use super::{Callback, Reactor, suspension, ticket, timer, watch};

/// For how long requests that have been woken, or the functions of a queue, run in a turn of the event loop: a
/// client of nginx itself hardly notices.
pub const SHARE: Duration = Duration::from_micros(500);

/// Something that nginx has reported.
pub struct Happened {
    pub interpreter: &'static Interpreter,
    pub what: What,
}

pub enum What {
    /// A watched descriptor is ready: its key, and the flags that fired.
    Ready(u64, u8),
    /// A timer's time is over.
    Due(u64),
}

/// A function that is to be called soon.
pub type Posted = Callback;

impl Reactor {
    /// Notes something that nginx has reported.
    pub(super) fn note(&self, interpreter: &'static Interpreter, what: What) {
        let mut happened = self.happened.borrow_mut();
        // Both directions of one descriptor are reported one after the other.
        if let (Some(Happened { what: What::Ready(last, fired), .. }), What::Ready(key, more)) =
            (happened.last_mut(), &what)
            && last == key
        {
            *fired |= more;
        } else {
            happened.push(Happened { interpreter, what });
        }
        self.alarm.post();
    }

    /// Has a function called soon. From inside Python: after nginx has looked for what has happened, so that a
    /// function that posts itself again and again leaves the others their turn.
    pub(super) fn post(&self, callback: Posted) {
        self.posted.borrow_mut().push(callback);
        if !self.is_running.get() {
            self.alarm.post_next();
        }
    }

    /// The same for a thread that has rung.
    pub(super) fn post_now(&self, callback: Posted) {
        self.posted.borrow_mut().push(callback);
        self.alarm.post();
    }

    /// Has the request with this ticket go on, after all that has happened.
    pub(super) fn go_on(&self, key: u64) {
        self.woken.borrow_mut().push_back(key);
        // In a turn of the reactor it is this turn that sees to it, or the next: nginx goes first.
        if !self.is_running.get() {
            self.alarm.post();
        }
    }

    /// Lets requests go on, for a while: thousands may wake at once, and are not to hold up everybody else.
    fn let_go_on(&self) {
        let begun = Instant::now();
        while begun.elapsed() < SHARE {
            let Some(key) = self.woken.borrow_mut().pop_front() else { break };
            entry::quietly(|| ticket::with_job(key, suspension::go_on));
        }
    }
}

/// On nginx's thread, at the end of a turn of its event loop.
pub fn run() {
    /// Whatever happens, the next turn comes.
    struct End<'a>(&'a Reactor);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.is_running.set(false);
            if !(self.0.posted.borrow().is_empty() && self.0.woken.borrow().is_empty()) {
                self.0.alarm.post_next();
            }
        }
    }
    Reactor::try_with(|reactor| {
        let begun = Instant::now();
        reactor.is_running.set(true);
        let _end = End(reactor);
        // First what has happened; what that posts belongs to this turn, what the posted ones post to the next.
        let items = reactor.happened.take();
        call_each(items, |item| item.interpreter, happened);
        let items = reactor.posted.take();
        call_each(items, |item| item.interpreter, posted);
        warn_of_blocking(begun.elapsed());
        reactor.let_go_on();
    });
}

fn warn_of_blocking(held: Duration) {
    thread_local! {
        static HAS_WARNED: Cell<bool> = const { Cell::new(false) };
    }
    let conf = LocationConf::of_http(Request::cycle());
    if conf.and_then(LocationConf::block_limit).is_some_and(|limit| held > limit)
        && !HAS_WARNED.replace(true)
    {
        let text = format!(
            "wsgi: handlers of ngx_reactor, or asyncio, held the event loop for {} ms, during which its worker \
             served nobody else (said once, see wsgi_block_warning)",
            held.as_millis()
        );
        log::process_log().write(Level::Warn, text);
    }
}

/// Calls `f` for each item, attached to its interpreter, which is entered once for neighbours.
fn call_each<T>(
    items: Vec<T>,
    interpreter: impl Fn(&T) -> &'static Interpreter,
    f: impl Fn(Python<'_>, T),
) {
    let mut items = items.into_iter().peekable();
    while let Some(here) = items.peek().map(&interpreter) {
        here.enter(|py| {
            while let Some(item) = items.next_if(|item| core::ptr::eq(interpreter(item), here)) {
                entry::quietly(|| f(py, item));
            }
        });
    }
}

fn happened(py: Python<'_>, happened: Happened) {
    match happened.what {
        What::Ready(key, fired) => watch::ready(py, key, fired),
        What::Due(key) => timer::due(py, key),
    }
}

fn posted(py: Python<'_>, callback: Posted) {
    let result = callback.function.call0(py);
    callback.done(py, result);
}

impl Callback {
    /// Takes notice of what the function returned. An exception hurts nobody else.
    pub(super) fn done(&self, py: Python<'_>, result: PyResult<Py<PyAny>>) {
        let Err(error) = result else { return };
        let raised = self.interpreter.package().describe(py, &error);
        let text = format!("wsgi: a handler of ngx_reactor raised {}", raised.summary);
        log::process_log().write_all(Level::Error, &text, &raised.traceback);
    }
}
