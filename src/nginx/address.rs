//! The server's own address, as text.
//!
//! A worker has few addresses and its clients keep coming to the same one, so the last text is kept.

use core::cell::RefCell;
use std::rc::Rc;

use nginx_sys::{
    ngx_connection_local_sockaddr, ngx_connection_t, ngx_inet_get_port, ngx_str_t, sockaddr,
};

use super::shim::NGX_WSGI_SOCKADDR_STRLEN;

/// An address of this server.
#[derive(Default)]
pub struct LocalAddress {
    /// The bytes of the `sockaddr` that the text was made of.
    raw: Vec<u8>,
    /// The address without the port; `unix:` and the path for a UNIX socket.
    pub text: Vec<u8>,
    /// In decimal; empty for a UNIX socket.
    pub port: Vec<u8>,
}

thread_local! {
    static LAST: RefCell<Rc<LocalAddress>> = RefCell::default();
}

impl LocalAddress {
    /// The address that the client of `c` connected to.
    pub(super) fn of_connection(c: *mut ngx_connection_t) -> Rc<Self> {
        // SAFETY: the connection is live; nginx asks the system at most once per connection.
        let raw = unsafe {
            if ngx_connection_local_sockaddr(c, core::ptr::null_mut(), 0) != super::OK {
                return Rc::default();
            }
            let length = (*c).local_socklen as usize;
            core::slice::from_raw_parts((*c).local_sockaddr.cast::<u8>(), length)
        };
        LAST.with_borrow_mut(|last| {
            if last.raw != raw {
                *last = Rc::new(Self { raw: raw.to_vec(), text: text(c), port: port_text(c) });
            }
            Rc::clone(last)
        })
    }
}

fn text(c: *mut ngx_connection_t) -> Vec<u8> {
    let mut text = vec![0; NGX_WSGI_SOCKADDR_STRLEN as usize];
    let mut string = ngx_str_t { len: text.len(), data: text.as_mut_ptr() };
    // SAFETY: the string describes a buffer with room for any address.
    let rc = unsafe { ngx_connection_local_sockaddr(c, &mut string, 0) };
    text.truncate(if rc == super::OK { string.len } else { 0 });
    text
}

fn port_text(c: *mut ngx_connection_t) -> Vec<u8> {
    // SAFETY: the connection is live and its local address is known.
    let port = unsafe { port((*c).local_sockaddr) };
    port.map(|port| port.to_string().into_bytes()).unwrap_or_default()
}

/// The port of an address; `None` for a UNIX socket.
///
/// # Safety
/// `address` must be null or valid.
pub(super) unsafe fn port(address: *mut sockaddr) -> Option<u16> {
    // SAFETY: by the contract of this function.
    unsafe {
        let family = i32::from(address.as_ref()?.sa_family);
        let is_inet = family == libc::AF_INET || family == libc::AF_INET6;
        is_inet.then(|| ngx_inet_get_port(address))
    }
}
