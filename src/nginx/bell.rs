//! A bell: any thread rings it, and nginx's thread comes.
//!
//! An eventfd in the event loop of a worker, made by it. However often it is rung before nginx's thread comes, it
//! comes once, and finds out itself what there is to do.

use core::sync::atomic::{AtomicBool, Ordering};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::Arc;

use nginx_sys::{
    NGX_USE_CLEAR_EVENT, ngx_connection_t, ngx_cycle, ngx_cycle_t, ngx_event_flags, ngx_event_t,
    ngx_free_connection, ngx_get_connection, ngx_handle_read_event,
};

use super::entry;
use super::log::{Level, Log};

/// What nginx's thread does when it is rung for.
pub type Handler = fn();

/// A bell. Its clones are the same bell; the descriptor is closed with the last of them.
#[derive(Clone)]
pub struct Bell(Arc<Inner>);

struct Inner {
    /// An eventfd, which does not block.
    file: File,
    /// Whether this process has rung it and nginx's thread has not come yet.
    is_rung: AtomicBool,
}

/// What a bell in nginx's event loop calls. It stays for the rest of the process, as its connection does.
struct Hung {
    bell: Bell,
    handler: Handler,
}

impl Bell {
    /// A bell that nobody hears yet.
    pub fn new() -> io::Result<Self> {
        // SAFETY: makes a descriptor, which is the File's alone.
        let file = unsafe {
            let fd = libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
            if fd == -1 {
                return Err(io::Error::last_os_error());
            }
            File::from_raw_fd(fd)
        };
        Ok(Self(Arc::new(Inner { file, is_rung: AtomicBool::new(false) })))
    }

    /// Rings it. Only the first ring before nginx's thread comes costs a call of the system.
    pub fn ring(&self) {
        if !self.0.is_rung.swap(true, Ordering::AcqRel) {
            // It can only fail when the counter is full (2^64), and then it has been rung.
            let _ = (&self.0.file).write(&1u64.to_ne_bytes());
        }
    }

    /// Hangs it up in this process: from now on `handler` is called on nginx's thread. To be called in
    /// `init_process` or later, once for a bell and process; it lasts as long as the process. Takes one of
    /// `worker_connections`.
    ///
    /// # Errors
    /// nginx has no connection left or could not register it, which has been logged: nobody will come.
    pub fn hang(&self, handler: Handler) -> Result<(), ()> {
        // SAFETY: on nginx's thread in a process that serves. The connection is new; `Hung` is leaked, so
        // it lives as long as the connection that points to it, and so does the descriptor.
        unsafe {
            let cycle: &ngx_cycle_t = &*ngx_cycle.cast_const();
            let failed = |what: &str| {
                let text = format!("wsgi: cannot wake the event loop of this worker: {what}");
                Log::from_ptr(cycle.log).write(Level::Error, text);
                Err(())
            };
            // nginx itself would log this as an alert.
            if cycle.free_connections.is_null() {
                return failed("\"worker_connections\" are not enough");
            }
            let c = ngx_get_connection(self.0.file.as_raw_fd(), cycle.log);
            let Some(c) = c.as_mut() else { return failed("no connection") };
            c.data = Box::into_raw(Box::new(Hung { bell: self.clone(), handler })).cast();
            let read = &mut *c.read;
            read.log = cycle.log;
            read.handler = Some(rung);
            // So nginx neither waits for it, nor closes it with the connections of clients, nor complains
            // of an open socket when the worker ends. Both events: it looks at either.
            read.set_channel(1);
            (*c.write).set_channel(1);
            if ngx_handle_read_event(c.read, 0) != super::OK {
                drop(Box::from_raw(c.data.cast::<Hung>()));
                ngx_free_connection(c);
                // Not to be taken for the descriptor of a client.
                c.fd = -1;
                return failed("the event could not be registered");
            }
        }
        Ok(())
    }

    /// Nginx's thread has come.
    fn answered(&self) {
        // Where only changes are reported the counter may grow, and a call of the system is saved; a bell
        // that several processes hear is not taken from the others.
        // SAFETY: set by nginx when the worker starts.
        if unsafe { ngx_event_flags } & NGX_USE_CLEAR_EVENT as usize == 0 {
            let _ = (&self.0.file).read(&mut [0; 8]);
        }
        // Before the handler looks for work: what arrives later rings again.
        self.0.is_rung.swap(false, Ordering::AcqRel);
    }
}

/// Where nginx says that the counter has changed.
unsafe extern "C" fn rung(event: *mut ngx_event_t) {
    entry::quietly(|| {
        // SAFETY: the event's data is the connection, and that connection's data is what `hang` has leaked.
        let hung = unsafe { &*(*(*event).data.cast::<ngx_connection_t>()).data.cast::<Hung>() };
        hung.bell.answered();
        (hung.handler)();
    });
}
