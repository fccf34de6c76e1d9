//! What keeps a worker that quits gracefully although it has no request left: threads that are inside
//! applications for clients who have gone.
//!
//! nginx waits for timers, so while somebody is to be waited for there is one; `worker_shutdown_timeout` bounds
//! it as it bounds connections.

use core::cell::{Cell, OnceCell};

use nginx_sys::{ngx_core_conf_t, ngx_core_module, ngx_current_msec, ngx_exiting, ngx_msec_t};

use super::alarm::Alarm;
use super::request::Request;

/// How often the timer looks, in milliseconds.
const INTERVAL: ngx_msec_t = 50;

thread_local! {
    /// How many are waited for.
    static COUNT: Cell<usize> = const { Cell::new(0) };
    /// When the worker was first seen to be quitting.
    static QUITTING: Cell<Option<ngx_msec_t>> = const { Cell::new(None) };
    static ALARM: OnceCell<&'static Alarm> = const { OnceCell::new() };
}

/// Has a quitting worker wait until `let_go` is called. On nginx's thread.
pub fn hold() {
    COUNT.set(COUNT.get() + 1);
    set();
}

/// Takes one `hold` back.
pub fn let_go() {
    COUNT.set(COUNT.get().saturating_sub(1));
}

fn set() {
    ALARM.with(|alarm| alarm.get_or_init(|| Alarm::awaited(look)).set(INTERVAL));
}

fn look() {
    if COUNT.get() > 0 && !is_out_of_time() {
        set();
    }
}

/// Whether the worker has been quitting for longer than `worker_shutdown_timeout`.
fn is_out_of_time() -> bool {
    // SAFETY: flags and times of nginx, read on its thread; the core module's configuration is complete.
    unsafe {
        if ngx_exiting == 0 {
            return false;
        }
        let since = QUITTING.get().unwrap_or(ngx_current_msec);
        QUITTING.set(Some(since));
        let conf = *Request::cycle().conf_ctx.add(ngx_core_module.index);
        let limit = (*conf.cast::<ngx_core_conf_t>()).shutdown_timeout;
        limit > 0 && ngx_current_msec.wrapping_sub(since) >= limit
    }
}
