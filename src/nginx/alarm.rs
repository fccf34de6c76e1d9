//! A timer of the worker, not of a request.

use core::cell::UnsafeCell;

use nginx_sys::{
    ngx_connection_t, ngx_cycle, ngx_delete_posted_event, ngx_event_t, ngx_msec_t, ngx_post_event,
    ngx_posted_events, ngx_posted_next_events,
};

use super::{entry, event};

/// Something that is called later. On nginx's thread only; a call that is still to come vanishes with it.
#[repr(C)]
pub struct Alarm<F: Fn() = fn()> {
    event: UnsafeCell<ngx_event_t>,
    call: F,
}

impl Alarm {
    /// An alarm that calls `call`, for the life of the process. A worker that quits gracefully does not wait
    /// for it.
    pub fn new(call: fn()) -> &'static Self {
        Box::leak(Self::owned(call))
    }

    /// One that such a worker waits for.
    pub fn awaited(call: fn()) -> &'static Self {
        let alarm = Self::new(call);
        // SAFETY: the event is only touched on nginx's thread.
        unsafe { (*alarm.event.get()).set_cancelable(0) };
        alarm
    }
}

impl<F: Fn()> Alarm<F> {
    /// An alarm that calls `call`, which must not drop it. A worker that quits gracefully does not wait for
    /// it.
    pub fn owned(call: F) -> Box<Self> {
        // SAFETY: a zeroed event is valid: not posted, no timer.
        let event: ngx_event_t = unsafe { core::mem::zeroed() };
        let alarm = Box::new(Self { event: UnsafeCell::new(event), call });
        // SAFETY: nothing else refers to it yet, and what is in a box does not move.
        unsafe {
            let event = alarm.event.get();
            (*event).data = no_connection().cast();
            (*event).handler = Some(rings::<F>);
            (*event).set_cancelable(1);
        }
        alarm
    }

    /// Rings after so many milliseconds, instead of when it was to ring before.
    pub fn set(&self, milliseconds: ngx_msec_t) {
        // SAFETY: the event never moves, its drop takes it out of the timers, and it is only touched on
        // nginx's thread.
        unsafe { event::set_timer(self.event(), milliseconds) };
    }

    /// Rings in this turn of the event loop, after what has happened.
    pub fn post(&self) {
        let event = self.event();
        // SAFETY: as in `set`, for the queue of events. It may stand in that of the next turn.
        unsafe {
            if (*event).posted() != 0 {
                ngx_delete_posted_event(event);
            }
            ngx_post_event(event, &raw mut ngx_posted_events);
        }
    }

    /// Rings in the next turn of the event loop, before which nginx looks for what has happened. If it has
    /// been posted for this turn already it rings then.
    pub fn post_next(&self) {
        // SAFETY: as in `post`.
        unsafe { ngx_post_event(self.event(), &raw mut ngx_posted_next_events) };
    }

    /// Does not ring.
    pub fn stop(&self) {
        // SAFETY: as in `set`; the event is initialised.
        unsafe { event::forget(self.event.get()) };
    }

    fn event(&self) -> *mut ngx_event_t {
        let event = self.event.get();
        // SAFETY: only touched on nginx's thread; ngx_cycle has a log, another one after a reload of a
        // single process.
        unsafe { (*event).log = (*ngx_cycle).log };
        event
    }
}

impl<F: Fn()> Drop for Alarm<F> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What nginx takes for the event's connection when it logs its descriptor.
fn no_connection() -> *mut ngx_connection_t {
    thread_local! {
        static NOTHING: *mut ngx_connection_t = {
            // SAFETY: a zeroed connection that is not used as one is valid.
            let mut nothing: ngx_connection_t = unsafe { core::mem::zeroed() };
            nothing.fd = -1;
            Box::leak(Box::new(nothing))
        };
    }
    NOTHING.with(|nothing| *nothing)
}

unsafe extern "C" fn rings<F: Fn()>(event: *mut ngx_event_t) {
    // SAFETY: the event is the first field of an Alarm, which its drop would have taken out of nginx's hands.
    entry::quietly(|| unsafe { ((*event.cast::<Alarm<F>>()).call)() });
}
