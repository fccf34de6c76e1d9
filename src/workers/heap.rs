//! Free memory goes back to the system some time after requests.
//!
//! glibc keeps what is freed below something that lives on, and keeps it in as many arenas as threads have
//! allocated from at the same time: 64 threads that have sent 1 MiB each leave 70 MiB behind. It is given
//! back now and then only, because what is needed again has to be asked for again.

use core::cell::Cell;

use nginx_sys::ngx_msec_t;

use crate::nginx::{Alarm, event, process};

/// How long after a request, in milliseconds, and how long the last one has to be over then: a worker that is asked
/// all the time needs what it has, and it takes 4 ms after such a burst, more with a large heap.
const LATER: ngx_msec_t = 5000;
const QUIET: ngx_msec_t = 1000;

thread_local! {
    static ALARM: &'static Alarm = Alarm::new(rings);
    static IS_SET: Cell<bool> = const { Cell::new(false) };
    static LAST: Cell<ngx_msec_t> = const { Cell::new(0) };
}

/// A request has ended.
pub(super) fn request_ends() {
    LAST.set(event::now());
    if !IS_SET.replace(true) {
        ALARM.with(|alarm| alarm.set(LATER));
    }
}

fn rings() {
    if event::now().wrapping_sub(LAST.get()) < QUIET {
        return ALARM.with(|alarm| alarm.set(LATER));
    }
    IS_SET.set(false);
    process::give_freed_memory_back();
}
