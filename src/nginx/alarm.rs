//! A timer of the worker, not of a request.

use core::cell::UnsafeCell;

use nginx_sys::{
    ngx_add_timer, ngx_connection_t, ngx_cycle, ngx_del_timer, ngx_event_t, ngx_msec_t,
    ngx_post_event, ngx_posted_events,
};

use super::entry;

/// A function that is called later. Made once in a worker; it lives as long as the process.
#[repr(C)]
pub struct Alarm {
    event: UnsafeCell<ngx_event_t>,
    /// What nginx takes for the event's connection when it logs its descriptor.
    nothing: UnsafeCell<ngx_connection_t>,
    call: fn(),
}

impl Alarm {
    /// An alarm that calls `call`. A worker that quits gracefully does not wait for it.
    pub fn new(call: fn()) -> &'static Self {
        let alarm = Self::awaited(call);
        // SAFETY: the event is only touched on nginx's thread.
        unsafe { (*alarm.event.get()).set_cancelable(1) };
        alarm
    }

    /// One that such a worker waits for.
    pub fn awaited(call: fn()) -> &'static Self {
        // SAFETY: a zeroed event is valid: not posted, no timer. So is a connection that is not used as
        // one.
        let (event, mut nothing): (ngx_event_t, ngx_connection_t) =
            unsafe { (core::mem::zeroed(), core::mem::zeroed()) };
        nothing.fd = -1;
        let nothing = UnsafeCell::new(nothing);
        let alarm = Box::leak(Box::new(Self { event: UnsafeCell::new(event), nothing, call }));
        // SAFETY: nothing else refers to it yet, and it never moves.
        unsafe {
            let event = alarm.event.get();
            (*event).data = alarm.nothing.get().cast();
            (*event).handler = Some(rings);
        }
        alarm
    }

    /// Rings after so many milliseconds, instead of when it was to ring before.
    pub fn set(&self, milliseconds: ngx_msec_t) {
        // SAFETY: the event never moves and is only touched on nginx's thread; ngx_cycle has a log.
        unsafe {
            let event = self.event.get();
            (*event).log = (*ngx_cycle).log;
            ngx_add_timer(event, milliseconds);
        }
    }

    /// Rings at the end of this turn of the event loop.
    pub fn post(&self) {
        // SAFETY: as in `set`.
        unsafe {
            let event = self.event.get();
            (*event).log = (*ngx_cycle).log;
            ngx_post_event(event, &raw mut ngx_posted_events);
        }
    }

    /// Does not ring after the time of `set`.
    pub fn stop(&self) {
        // SAFETY: as in `set`.
        unsafe {
            let event = self.event.get();
            if (*event).timer_set() != 0 {
                ngx_del_timer(event);
            }
        }
    }
}

unsafe extern "C" fn rings(event: *mut ngx_event_t) {
    // SAFETY: the event is the first field of an Alarm, and those live as long as the process.
    entry::quietly(|| unsafe { ((*event.cast::<Alarm>()).call)() });
}
