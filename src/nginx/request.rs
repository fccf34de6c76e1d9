//! A request: a borrowed view of `ngx_http_request_t` that gives bytes instead of pointers.
//!
//! Made at the top of every callback, gone at its end. The strings live in the request's pool.

use core::marker::PhantomData;
use core::ptr::NonNull;
use std::rc::Rc;

use nginx_sys::{
    ngx_connection_t, ngx_cycle_t, ngx_http_complex_value_t, ngx_http_core_loc_conf_t,
    ngx_http_core_module, ngx_http_core_srv_conf_t, ngx_http_request_t, ngx_http_script_run,
    ngx_http_send_response, ngx_list_part_t, ngx_module_t, ngx_msec_t, ngx_pool_t, ngx_str_t,
    ngx_table_elt_t,
};

use super::address::{self, LocalAddress};
use super::body::ClientBody;
use super::log::Log;
use super::shim::{
    ngx_wsgi_is_closing, ngx_wsgi_is_user_checked, ngx_wsgi_request_hold,
    ngx_wsgi_request_reading_body, ngx_wsgi_request_request_body_no_buffering,
    ngx_wsgi_request_set_keepalive, ngx_wsgi_request_set_request_body_no_buffering,
};
use super::{headers, pool};

/// A live request.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    ptr: NonNull<ngx_http_request_t>,
    live: PhantomData<&'r ngx_http_request_t>,
}

impl<'r> Request<'r> {
    /// # Safety
    /// `r` must be a live request of this worker, used on nginx's thread, and stay alive for 'r.
    pub unsafe fn from_ptr(r: *mut ngx_http_request_t) -> Self {
        // SAFETY: nginx never passes null.
        Self { ptr: unsafe { NonNull::new_unchecked(r) }, live: PhantomData }
    }

    /// The pointer for nginx's functions.
    pub fn as_ptr(self) -> *mut ngx_http_request_t {
        self.ptr.as_ptr()
    }

    fn raw(self) -> &'r ngx_http_request_t {
        // SAFETY: by the contract of `from_ptr`.
        unsafe { self.ptr.as_ref() }
    }

    /// The connection; for HTTP/2 that of the stream.
    pub fn connection(self) -> &'r ngx_connection_t {
        // SAFETY: a live request has one.
        unsafe { &*self.raw().connection }
    }

    pub fn pool(self) -> *mut ngx_pool_t {
        self.raw().pool
    }

    /// The connection's log, with the request's context.
    pub fn log(self) -> Log<'r> {
        // SAFETY: the connection's log lives as long as the connection.
        unsafe { Log::from_ptr(self.connection().log) }
    }

    /// Whether nginx closes the connection because the worker is out of time (`worker_shutdown_timeout`).
    pub fn is_cut_off(self) -> bool {
        // SAFETY: the request is live.
        unsafe { ngx_wsgi_is_closing(self.as_ptr()) != 0 }
    }

    /// Whether this is the client's request and not a subrequest.
    pub fn is_main(self) -> bool {
        self.raw().main == self.as_ptr()
    }

    /// Whether it is this request whose turn it is among those of the connection: a main request and its
    /// subrequests send in the order of the page.
    pub fn has_turn(self) -> bool {
        self.connection().data.cast::<ngx_http_request_t>() == self.as_ptr()
    }

    /// Whether its output goes to the client now, and not after that of a subrequest.
    pub fn is_active(self) -> bool {
        self.has_turn() && self.raw().postponed.is_null()
    }

    /// Whether the connection is HTTP/2 or HTTP/3, whose socket is shared with other requests.
    pub fn is_multiplexed(self) -> bool {
        !self.raw().stream.is_null() || self.raw().http_version >= 2000
    }

    /// How many bytes have been sent over the connection.
    pub fn sent(self) -> i64 {
        self.connection().sent
    }

    pub fn is_head(self) -> bool {
        self.raw().method == nginx_sys::NGX_HTTP_HEAD as usize
    }

    pub fn is_get(self) -> bool {
        self.raw().method == nginx_sys::NGX_HTTP_GET as usize
    }

    pub fn method(self) -> &'r [u8] {
        bytes(&self.raw().method_name)
    }

    /// "GET /path HTTP/1.1", for a message.
    pub fn line(self) -> String {
        let parts = [self.method(), self.unparsed_uri(), self.protocol()];
        parts.map(String::from_utf8_lossy).join(" ")
    }

    /// The decoded and normalised path.
    pub fn uri(self) -> &'r [u8] {
        bytes(&self.raw().uri)
    }

    pub fn args(self) -> &'r [u8] {
        bytes(&self.raw().args)
    }

    /// The request target as the client sent it.
    pub fn unparsed_uri(self) -> &'r [u8] {
        bytes(&self.raw().unparsed_uri)
    }

    /// "HTTP/1.1" and the like; HTTP/0.9 has none in its request line.
    pub fn protocol(self) -> &'r [u8] {
        match bytes(&self.raw().http_protocol) {
            b"" => b"HTTP/0.9",
            protocol => protocol,
        }
    }

    /// The host of the request line or of the Host header, without the port, checked by nginx.
    pub fn host(self) -> &'r [u8] {
        bytes(&self.raw().headers_in.server)
    }

    /// The first `server_name` of the server.
    pub fn server_name(self) -> &'r [u8] {
        // SAFETY: the core module has a server configuration for every request.
        unsafe {
            let conf = *self.raw().srv_conf.add(ngx_http_core_module.ctx_index);
            bytes(&(*conf.cast::<ngx_http_core_srv_conf_t>()).server_name)
        }
    }

    /// The location's configuration of the core module.
    pub fn core(self) -> &'r ngx_http_core_loc_conf_t {
        // SAFETY: the core module has a location configuration for every request.
        unsafe { &*self.loc_conf(&raw const ngx_http_core_module).cast() }
    }

    /// The location's configuration of `module`.
    ///
    /// # Safety
    /// `module` must be an HTTP module.
    pub unsafe fn loc_conf(self, module: *const ngx_module_t) -> *mut core::ffi::c_void {
        // SAFETY: by the contract of this function every index below the number of modules is valid.
        unsafe { *self.raw().loc_conf.add((*module).ctx_index) }
    }

    /// `send_timeout` in milliseconds.
    pub fn send_timeout(self) -> ngx_msec_t {
        self.core().send_timeout
    }

    /// `root` (or `alias`) of the location, if there are no variables in it.
    pub fn constant_root(self) -> Option<&'r [u8]> {
        self.core().root_lengths.is_null().then(|| bytes(&self.core().root))
    }

    /// `root` (or `alias`) of the location, variables evaluated.
    pub fn evaluated_root(self) -> &'r [u8] {
        let core = self.core();
        if core.root_lengths.is_null() {
            return bytes(&core.root);
        }
        let mut root = ngx_str_t::empty();
        // SAFETY: the compiled scripts belong to the configuration; the result is in the request's pool.
        let found = unsafe {
            ngx_http_script_run(
                self.as_ptr(),
                &mut root,
                (*core.root_lengths).elts,
                0,
                (*core.root_values).elts,
            )
        };
        if found.is_null() { b"" } else { bytes(&root) }
    }

    /// The user that `auth_basic` has let in.
    pub fn authenticated_user(self) -> Option<&'r [u8]> {
        let user = bytes(&self.raw().headers_in.user);
        // SAFETY: the request is live and past the access phase.
        let is_checked = || unsafe { ngx_wsgi_is_user_checked(self.as_ptr()) != 0 };
        Some(user).filter(|user| !user.is_empty() && is_checked())
    }

    /// The client's address as text.
    pub fn remote_addr(self) -> &'r [u8] {
        bytes(&self.connection().addr_text)
    }

    /// The client's port; `None` for a UNIX socket.
    pub fn remote_port(self) -> Option<u16> {
        // SAFETY: the connection has the address of its peer.
        unsafe { address::port(self.connection().sockaddr) }
    }

    /// The server's address.
    pub fn local_address(self) -> Rc<LocalAddress> {
        LocalAddress::of_connection(self.raw().connection)
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(self) -> bool {
        #[cfg(ngx_feature = "http_ssl")]
        return !self.connection().ssl.is_null();
        #[cfg(not(ngx_feature = "http_ssl"))]
        return false;
    }

    /// Protocol and cipher of a TLS connection: SSL_PROTOCOL and SSL_CIPHER.
    pub fn tls(self) -> Option<(&'r [u8], &'r [u8])> {
        if !self.is_tls() {
            return None;
        }
        #[cfg(ngx_feature = "http_ssl")]
        {
            let (mut protocol, mut cipher) = (ngx_str_t::empty(), ngx_str_t::empty());
            // SAFETY: the connection has TLS; both functions point into OpenSSL's static strings or
            // allocate from the pool.
            unsafe {
                let c = self.raw().connection;
                nginx_sys::ngx_ssl_get_protocol(c, self.pool(), &mut protocol);
                nginx_sys::ngx_ssl_get_cipher_name(c, self.pool(), &mut cipher);
                Some((from_c(protocol), from_c(cipher)))
            }
        }
        #[cfg(not(ngx_feature = "http_ssl"))]
        None
    }

    /// The headers, names in lower case.
    pub fn headers(self) -> Headers<'r> {
        let part = Some(&self.raw().headers_in.headers.part);
        Headers { part, index: 0, authority: self.authority() }
    }

    /// The `:authority` of HTTP/3, which nginx does not turn into a Host header as it does for HTTP/2.
    fn authority(self) -> Option<&'r [u8]> {
        let raw = self.raw();
        if !self.is_http_3() || !raw.headers_in.host.is_null() || raw.host_start.is_null() {
            return None;
        }
        // SAFETY: both point into the same string of the request's pool.
        unsafe {
            let length = raw.host_end.offset_from(raw.host_start);
            Some(core::slice::from_raw_parts(raw.host_start, usize::try_from(length).ok()?))
        }
    }

    /// Whether the client announced a body: Content-Length, chunked, or HTTP/2 without a length.
    pub fn has_body(self) -> bool {
        let headers = &self.raw().headers_in;
        headers.content_length_n >= 0 || self.is_chunked()
    }

    pub fn is_http_3(self) -> bool {
        self.raw().http_version >= 3000
    }

    /// Whether nginx has read the body, or begun to.
    pub fn has_read_body(self) -> bool {
        !self.raw().request_body.is_null()
    }

    /// The length of the body that the client has announced; `None` for one that comes in chunks, or like
    /// that.
    pub fn announced_length(self) -> Option<u64> {
        let headers = &self.raw().headers_in;
        if self.is_chunked() { None } else { u64::try_from(headers.content_length_n).ok() }
    }

    /// Whether the body comes without an announced length.
    pub fn is_chunked(self) -> bool {
        self.raw().headers_in.chunked() != 0
    }

    /// Whether nginx still reads the body, for whoever it does so.
    pub fn is_reading_body(self) -> bool {
        // SAFETY: a main request lives longer than its subrequests.
        unsafe { ngx_wsgi_request_reading_body(self.raw().main) != 0 }
    }

    /// Whether nginx still reads the body, and gives it away while it does.
    pub fn is_unbuffered(self) -> bool {
        // SAFETY: the request is live.
        self.is_reading_body()
            && unsafe { ngx_wsgi_request_request_body_no_buffering(self.as_ptr()) != 0 }
    }

    /// A reader over the body, `None` if nginx has read none, or not all of it.
    ///
    /// # Safety
    /// nginx must have read the body, and the reader must be dropped before the request ends.
    pub unsafe fn body(self) -> Option<ClientBody> {
        // SAFETY: request_body is null or valid; the chain stays as it is (contract).
        unsafe {
            let body = self.raw().request_body.as_ref().filter(|_| !self.is_reading_body())?;
            Some(ClientBody::new(body.bufs)).filter(|body| body.remaining() > 0)
        }
    }

    /// The length of the body that nginx has read.
    pub fn body_length(self) -> u64 {
        // SAFETY: the reader is dropped at once.
        unsafe { self.body() }.map_or(0, |body| body.remaining())
    }

    /// Reads the client's body, then calls `then`, which happens at once or from a later event.
    ///
    /// Returns what the content handler has to return: `DONE`, or the error that was met.
    pub fn read_body(self, then: unsafe extern "C" fn(*mut ngx_http_request_t)) -> super::Code {
        // SAFETY: called from the content handler of a live request.
        let rc = unsafe { nginx_sys::ngx_http_read_client_request_body(self.as_ptr(), Some(then)) };
        if rc >= nginx_sys::NGX_HTTP_SPECIAL_RESPONSE as isize { rc } else { super::DONE }
    }

    /// Has nginx throw the client's body away. `OK`, or what the content handler has to return.
    pub fn discard_body(self) -> super::Code {
        // SAFETY: called from the content handler of a live request.
        unsafe { nginx_sys::ngx_http_discard_request_body(self.as_ptr()) }
    }

    /// From now on a timer goes on with the request, which is ours until `finalize`; a client that leaves
    /// ends it before.
    pub fn wait_for_timer(self) {
        // SAFETY: called from the content handler of a live request.
        unsafe {
            ngx_wsgi_request_hold(self.as_ptr());
            (*self.as_ptr()).read_event_handler = Some(nginx_sys::ngx_http_test_reading);
            (*self.as_ptr()).write_event_handler = Some(nginx_sys::ngx_http_request_empty_handler);
        }
    }

    /// Adds a header to the response, whose head has not been sent.
    pub fn set_header(self, name: &[u8], value: &[u8]) {
        // SAFETY: the request is live. Without memory there will be no response at all.
        let _ = unsafe { headers::set_field(self.as_ptr(), name, value) };
    }

    /// Sends a whole response, in UTF-8, and says what to finalize the request with.
    pub fn send_text(self, status: u16, content_type: &[u8], body: &[u8]) -> super::Code {
        // SAFETY: the request is live, and its head has not been sent; nginx gets strings of its pool.
        unsafe {
            let r = self.as_ptr();
            let (Some(mut content_type), Some(body)) =
                (pool::string(self.pool(), content_type), pool::string(self.pool(), body))
            else {
                return super::INTERNAL_SERVER_ERROR;
            };
            let charset = b"utf-8";
            (*r).headers_out.charset =
                ngx_str_t { len: charset.len(), data: charset.as_ptr().cast_mut() };
            let mut value: ngx_http_complex_value_t = core::mem::zeroed();
            value.value = body;
            ngx_http_send_response(r, status.into(), &mut content_type, &mut value)
        }
    }

    /// The same for a body that is given away while nginx reads it: calls `then` as soon as nginx has begun,
    /// see `Upload`. A body that nginx has read already, before a redirect for example, stays what it is.
    pub fn read_body_unbuffered(
        self,
        then: unsafe extern "C" fn(*mut ngx_http_request_t),
    ) -> super::Code {
        // SAFETY: the request is live.
        unsafe { ngx_wsgi_request_set_request_body_no_buffering(self.as_ptr(), 1) };
        self.read_body(then)
    }

    /// Tells the client, with the head, that the connection ends with the response.
    pub fn end_keepalive(self) {
        // SAFETY: the request is live.
        unsafe { ngx_wsgi_request_set_keepalive(self.as_ptr(), 0) };
    }

    /// Has `handler` called with `data` when the request ends, before anything of it is freed or closed.
    /// False if memory runs out.
    ///
    /// # Safety
    /// `data` must live as long as the request.
    pub unsafe fn on_end<T>(
        self,
        handler: unsafe extern "C" fn(*mut core::ffi::c_void),
        data: &T,
    ) -> bool {
        // SAFETY: nginx gives a cleanup of the main request, or null.
        unsafe {
            let cleanup = nginx_sys::ngx_http_cleanup_add(self.as_ptr(), 0);
            if let Some(cleanup) = cleanup.as_mut() {
                cleanup.handler = Some(handler);
                cleanup.data = core::ptr::from_ref(data).cast_mut().cast();
            }
            !cleanup.is_null()
        }
    }

    /// Ends the request for our part; it may be gone afterwards.
    pub fn finalize(self, rc: super::Code) {
        // SAFETY: called once per reference that we hold.
        unsafe { nginx_sys::ngx_http_finalize_request(self.as_ptr(), rc) };
    }

    /// The cycle of this process.
    pub fn cycle() -> &'static ngx_cycle_t {
        // SAFETY: set before any request exists; replaced, never freed, while requests of it live.
        unsafe { &*nginx_sys::ngx_cycle.cast_const() }
    }
}

/// An iterator over the headers of a request.
#[derive(Clone)]
pub struct Headers<'r> {
    part: Option<&'r ngx_list_part_t>,
    index: usize,
    authority: Option<&'r [u8]>,
}

impl<'r> Iterator for Headers<'r> {
    type Item = (&'r [u8], &'r [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(authority) = self.authority.take() {
            return Some((b"host", authority));
        }
        loop {
            let part = self.part?;
            if self.index >= part.nelts {
                // SAFETY: parts of a list live as long as the request; the last one's next is null.
                self.part = unsafe { part.next.as_ref() };
                self.index = 0;
                continue;
            }
            // SAFETY: headers_in.headers is a list of ngx_table_elt_t, nelts of them in this part.
            let header = unsafe { &*part.elts.cast::<ngx_table_elt_t>().add(self.index) };
            self.index += 1;
            // A header with hash 0 has been deleted.
            if header.hash != 0 {
                // SAFETY: lowcase_key has the length of key.
                let name =
                    unsafe { core::slice::from_raw_parts(header.lowcase_key, header.key.len) };
                return Some((name, bytes(&header.value)));
            }
        }
    }

    /// Deleted ones count as well.
    fn size_hint(&self) -> (usize, Option<usize>) {
        let next = |part: &&'r ngx_list_part_t| {
            // SAFETY: as above.
            unsafe { part.next.as_ref() }
        };
        let listed: usize = core::iter::successors(self.part, next).map(|part| part.nelts).sum();
        (0, Some(listed - self.index + usize::from(self.authority.is_some())))
    }
}

/// The bytes of a string in a pool.
pub(super) fn bytes<'r>(string: &ngx_str_t) -> &'r [u8] {
    if string.len == 0 || string.data.is_null() {
        return &[];
    }
    // SAFETY: nginx's strings are pointer and length of initialised memory of their pool, which lives as
    // long as the request or configuration that the caller borrowed the string from.
    unsafe { core::slice::from_raw_parts(string.data, string.len) }
}

/// The bytes of one of OpenSSL's names, whose length nginx leaves to the caller in some versions.
#[cfg(ngx_feature = "http_ssl")]
fn from_c<'r>(string: ngx_str_t) -> &'r [u8] {
    if string.data.is_null() {
        return &[];
    }
    if string.len > 0 {
        return bytes(&string);
    }
    // SAFETY: a non-null name without length is a NUL-terminated static string.
    unsafe { core::ffi::CStr::from_ptr(string.data.cast()).to_bytes() }
}
