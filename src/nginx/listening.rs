//! The sockets on which nginx's workers wait for HTTP connections, all of them on the same ones.
//!
//! A worker can stop waiting for a while, so that others get the new connections. nginx switches these
//! events too: off when it has no descriptors left, for half a second, and off for ever when the worker
//! quits; what it has switched off is not switched on here. Left alone are sockets of which each worker has
//! its own (`reuseport`), those of QUIC, of mail and of streams.

use nginx_sys::{
    ngx_connection_t, ngx_cycle, ngx_http_init_connection, ngx_listening_t, ngx_use_accept_mutex,
};

use super::process;
use super::shim::{
    ngx_wsgi_listening_is_shared, ngx_wsgi_listening_start, ngx_wsgi_listening_stop,
};

/// Whether the workers wait all the time. With `accept_mutex on` nginx decides who waits, again and again.
pub fn is_free() -> bool {
    // SAFETY: set by nginx as the worker starts, before modules are asked.
    unsafe { ngx_use_accept_mutex == 0 }
}

/// Stops waiting for connections. May be said again.
///
/// Not to be called from inside the handler of a connection, which nginx may have called while it accepts:
/// it goes on with the socket afterwards.
pub fn stop() {
    each(|c| {
        // SAFETY: the connection of a listening socket of this worker, with its events.
        unsafe {
            if (*(*c).read).active() != 0 {
                ngx_wsgi_listening_stop((*c).read);
            }
        }
    });
}

/// Waits for connections again.
pub fn start() {
    let mut is_nginxs = false;
    // SAFETY: as above.
    each(|c| is_nginxs |= unsafe { (*(*c).read).timer_set() != 0 });
    // With that timer nginx itself starts again with all sockets.
    if is_nginxs || process::is_ending() {
        return;
    }
    each(|c| {
        // SAFETY: as above. An error has been logged by nginx, and there is nobody else to tell.
        unsafe {
            if (*(*c).read).active() == 0 {
                ngx_wsgi_listening_start((*c).read);
            }
        }
    });
}

/// Whether there is a connection that no worker has taken yet.
pub fn has_connection() -> bool {
    let mut sockets = Vec::new();
    each(|c| {
        // SAFETY: as above.
        let fd = unsafe { (*c).fd };
        sockets.push(libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    });
    let Ok(count) = libc::nfds_t::try_from(sockets.len()) else { return false };
    // SAFETY: so many valid pollfds; it does not wait.
    let ready = unsafe { libc::poll(sockets.as_mut_ptr(), count, 0) };
    ready > 0 && sockets.iter().any(|socket| socket.revents & libc::POLLIN != 0)
}

/// Calls `f` for the connections of the sockets that this is about. There are none once the worker ends.
fn each(mut f: impl FnMut(*mut ngx_connection_t)) {
    let is_http = |ls: &ngx_listening_t| {
        let http: unsafe extern "C" fn(*mut ngx_connection_t) = ngx_http_init_connection;
        ls.handler.is_some_and(|handler| core::ptr::fn_addr_eq(handler, http))
    };
    // SAFETY: the cycle of this process and its array of listening sockets, which nginx changes in other
    // turns of the loop only. A socket that this worker does not use has no connection.
    unsafe {
        for ls in (*ngx_cycle).listening.as_slice::<ngx_listening_t>() {
            let is_stream = ls.type_ == libc::SOCK_STREAM;
            if is_stream
                && !ls.connection.is_null()
                && is_http(ls)
                && ngx_wsgi_listening_is_shared(ls) != 0
            {
                f(ls.connection);
            }
        }
    }
}
