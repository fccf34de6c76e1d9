//! How long nginx's thread stays in Python.
//!
//! To take the GIL and to give it up costs more than many a line of an application. While nginx's thread is
//! the only one that Python knows, nobody waits for it: then it is kept from one request to the next, and
//! given up at the end of the turn of the event loop, before nginx waits for events.

use core::cell::{Cell, OnceCell};

use crate::nginx::Alarm;
use crate::py::Gil;

thread_local! {
    static STAY: Stay = const { Stay { kept: Cell::new(None), end: OnceCell::new() } };
}

struct Stay {
    kept: Cell<Option<Gil>>,
    /// Ends it.
    end: OnceCell<&'static Alarm>,
}

/// Runs `f`, which enters Python, and decides whether to stay. On nginx's thread.
pub fn during<R>(f: impl FnOnce() -> R) -> R {
    /// Decides when `f` ends, panic or not.
    struct Visit(Option<Gil>);
    impl Drop for Visit {
        fn drop(&mut self) {
            if let Some(gil) = self.0.take().filter(Gil::is_wanted_by_nobody) {
                STAY.with(|stay| stay.keep(gil));
            }
        }
    }
    let _visit = Visit(STAY.with(|stay| stay.kept.take()).or_else(Gil::take));
    f()
}

impl Stay {
    fn keep(&self, gil: Gil) {
        self.kept.set(Some(gil));
        self.end.get_or_init(|| Alarm::new(|| STAY.with(|stay| drop(stay.kept.take())))).post();
    }
}
