//! The filters that take the bodies of subrequests, see subrequest.rs, before they reach the client.
//!
//! A place in nginx's list of filters belongs to a module, so there are modules that are nothing but that. What
//! is in order when it leaves the postpone filter is taken behind it. A subrequest that has none of its own is
//! taken before, whose turn it may be: what the postpone filter keeps would hold its end up.

use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::ptr;
use std::io;

use nginx_sys::{
    NGX_HTTP_MODULE, ngx_buf_t, ngx_chain_t, ngx_conf_t, ngx_http_module_t,
    ngx_http_output_body_filter_pt, ngx_http_request_t, ngx_http_top_body_filter, ngx_int_t,
    ngx_module_t, ngx_uint_t,
};

use super::entry;
use super::subrequest::{Subrequest, captor};
use super::{body, request::Request};

/// The next filter of one of ours. Written when a configuration is read, with the same value each time.
struct Next(UnsafeCell<ngx_http_output_body_filter_pt>);

// SAFETY: used on nginx's thread only.
unsafe impl Sync for Next {}

impl Next {
    const fn new() -> Self {
        Self(UnsafeCell::new(None))
    }

    /// Puts `filter` before all those that are there.
    ///
    /// # Safety
    /// To be called while nginx reads its configuration, in its thread.
    unsafe fn install(&self, filter: ngx_http_output_body_filter_pt) {
        // SAFETY: by the contract of this function nobody filters meanwhile.
        unsafe {
            *self.0.get() = ngx_http_top_body_filter;
            ngx_http_top_body_filter = filter;
        }
    }

    /// # Safety
    /// `r` and `chain` must be what nginx has passed.
    unsafe fn call(&self, r: *mut ngx_http_request_t, chain: *mut ngx_chain_t) -> ngx_int_t {
        // SAFETY: by the contract of this function; a filter runs once it has been installed.
        unsafe {
            match *self.0.get() {
                Some(next) => next(r, chain),
                None => super::ERROR,
            }
        }
    }
}

static AFTER_ORDERED: Next = Next::new();
static AFTER_EARLY: Next = Next::new();
static AFTER_OUTERMOST: Next = Next::new();

const fn context(init: unsafe extern "C" fn(*mut ngx_conf_t) -> ngx_int_t) -> ngx_http_module_t {
    ngx_http_module_t {
        preconfiguration: None,
        postconfiguration: Some(init),
        create_main_conf: None,
        init_main_conf: None,
        create_srv_conf: None,
        merge_srv_conf: None,
        create_loc_conf: None,
        merge_loc_conf: None,
    }
}

const fn module(context: &'static ngx_http_module_t) -> ngx_module_t {
    ngx_module_t {
        ctx: ptr::from_ref(context).cast_mut().cast(),
        type_: NGX_HTTP_MODULE as ngx_uint_t,
        ..ngx_module_t::default()
    }
}

static ORDERED: ngx_http_module_t = context(init_ordered);
static EARLY: ngx_http_module_t = context(init_early);

/// Whose filter runs behind the postpone filter.
#[allow(non_upper_case_globals)]
pub static mut ngx_http_wsgi_capture_filter_module: ngx_module_t = module(&ORDERED);

/// Whose filter runs before it.
#[allow(non_upper_case_globals)]
pub static mut ngx_http_wsgi_early_capture_filter_module: ngx_module_t = module(&EARLY);

pub const ORDERED_NAME: &CStr = c"ngx_http_wsgi_capture_filter_module";
pub const EARLY_NAME: &CStr = c"ngx_http_wsgi_early_capture_filter_module";

/// Our filters among those of nginx, in the order of nginx's own list. Filters run the other way round; a
/// module is put before the first that follows here and is there.
pub const ORDER: [&CStr; 16] = [
    ORDERED_NAME,
    c"ngx_http_postpone_filter_module",
    EARLY_NAME,
    c"ngx_http_ssi_filter_module",
    c"ngx_http_charset_filter_module",
    c"ngx_http_xslt_filter_module",
    c"ngx_http_image_filter_module",
    c"ngx_http_sub_filter_module",
    c"ngx_http_addition_filter_module",
    c"ngx_http_gunzip_filter_module",
    c"ngx_http_userid_filter_module",
    c"ngx_http_headers_filter_module",
    c"ngx_http_copy_filter_module",
    c"ngx_http_range_body_filter_module",
    c"ngx_http_not_modified_filter_module",
    c"ngx_http_slice_filter_module",
];

unsafe extern "C" fn init_ordered(_cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx reads its configuration.
    unsafe { AFTER_ORDERED.install(Some(ordered)) };
    super::OK
}

unsafe extern "C" fn init_early(_cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx reads its configuration.
    unsafe { AFTER_EARLY.install(Some(early)) };
    super::OK
}

/// Moves the module of the filter behind the postpone filter to where nothing can stand between the two: the filter
/// of a module that is loaded later and has the same order would take the bodies of subrequests for the client's. In
/// `preconfiguration` of the main module: the modules have their indices, and the filters not yet their places.
pub fn settle(cf: &mut ngx_conf_t) {
    // SAFETY: nginx reads its configuration; the cycle has an array of modules that ends with null, each with a
    // name.
    unsafe {
        let modules = (*cf.cycle).modules;
        let place = |name: &CStr| {
            (0..(*cf.cycle).modules_n)
                .find(|index| CStr::from_ptr((**modules.add(*index)).name).eq(name))
        };
        let (Some(own), Some(postpone)) =
            (place(ORDERED_NAME), place(c"ngx_http_postpone_filter_module"))
        else {
            return;
        };
        if own < postpone {
            let modules = core::slice::from_raw_parts_mut(modules, (*cf.cycle).modules_n);
            modules[own..postpone].rotate_left(1);
        }
    }
}

/// Puts the filter that watches for the end of a response before all others. `postconfiguration` of the main
/// module, which is the last one.
pub unsafe extern "C" fn init_outermost(_cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx reads its configuration.
    unsafe { AFTER_OUTERMOST.install(Some(outermost)) };
    super::OK
}

/// Notes that whoever responds has come to the end. Filters after this one do not all hand that on.
unsafe extern "C" fn outermost(r: *mut ngx_http_request_t, chain: *mut ngx_chain_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request and a valid chain.
    unsafe {
        if r != (*r).main
            && let Some(subrequest) = Subrequest::of_request(r)
        {
            if subrequest.is_abandoned() {
                // It goes nowhere. Filters could make subrequests of it, which would never have their turn.
                links(chain).for_each(consume);
                return super::OK;
            }
            entry::quietly(|| {
                if links(chain).any(|buf| buf.last_in_chain() != 0) {
                    subrequest.completes();
                }
            });
        }
        AFTER_OUTERMOST.call(r, chain)
    }
}

/// Takes what a subrequest sends that has none of its own to wait for.
unsafe extern "C" fn early(r: *mut ngx_http_request_t, chain: *mut ngx_chain_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request and a valid chain.
    unsafe {
        if r == (*r).main || chain.is_null() || !(*r).postponed.is_null() {
            return AFTER_EARLY.call(r, chain);
        }
        match Subrequest::of_request(r) {
            Some(subrequest) => swallow(r, subrequest, chain),
            None => AFTER_EARLY.call(r, chain),
        }
    }
}

/// Takes what belongs to a subrequest of ours. The postpone filter passes on what it has put in order as the
/// main request's; whose it is says the connection.
unsafe extern "C" fn ordered(r: *mut ngx_http_request_t, chain: *mut ngx_chain_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request and a valid chain; the connection's data is the request whose turn
    // it is.
    unsafe {
        let active: *mut ngx_http_request_t = (*(*r).connection).data.cast();
        if active == (*r).main || chain.is_null() {
            return AFTER_ORDERED.call(r, chain);
        }
        match captor(active) {
            Some((captured, subrequest)) => swallow(captured, subrequest, chain),
            None => AFTER_ORDERED.call(r, chain),
        }
    }
}

/// Has nginx send what it holds for the client of `r`, whose turn it is, without asking the filters that begin
/// with the head.
pub fn push(r: Request<'_>) {
    // SAFETY: the request is live. The filters from here on are those of the main request.
    unsafe {
        if (*r.as_ptr()).connection.as_ref().is_some_and(|c| c.buffered() != 0) {
            AFTER_ORDERED.call((*r.as_ptr()).main, ptr::null_mut());
        }
    }
}

/// Copies what is in `chain`, and marks it as sent.
///
/// # Safety
/// `r` must be the live request of `subrequest`, `chain` valid.
unsafe fn swallow(
    r: *mut ngx_http_request_t,
    subrequest: &Subrequest,
    chain: *mut ngx_chain_t,
) -> ngx_int_t {
    entry::guard(super::ERROR, || {
        // SAFETY: by the contract of this function.
        let (limit, bufs) =
            unsafe { (Request::from_ptr(r).core().subrequest_output_buffer_size, links(chain)) };
        for buf in bufs {
            match body::memory(buf) {
                Some(bytes) => subrequest.take(bytes, limit),
                None if buf.in_file() != 0 => match read(buf, limit) {
                    Ok(bytes) => subrequest.take(&bytes, limit),
                    Err(_) => subrequest.break_off(),
                },
                None => {}
            }
            consume(buf);
        }
        super::OK
    })
}

/// Marks a buffer as sent.
fn consume(buf: &mut ngx_buf_t) {
    buf.pos = buf.last;
    buf.file_pos = buf.file_last;
}

/// What a buffer has in a file; no more than shows that it is too much. nginx has read it already as a rule,
/// because a captured subrequest asks its filters for memory.
fn read(buf: &ngx_buf_t, limit: usize) -> io::Result<Vec<u8>> {
    let length = usize::try_from(buf.file_last - buf.file_pos).unwrap_or(0);
    let mut bytes = vec![0; length.min(limit.saturating_add(1))];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += body::read_file(buf, filled as u64, &mut bytes[filled..])?;
    }
    Ok(bytes)
}

/// The buffers of a chain.
///
/// # Safety
/// The chain must be valid, and nobody else use it meanwhile.
unsafe fn links<'a>(chain: *mut ngx_chain_t) -> impl Iterator<Item = &'a mut ngx_buf_t> {
    let mut next = chain;
    core::iter::from_fn(move || {
        // SAFETY: by the contract of this function; each link has a buffer.
        unsafe {
            let link = next.as_ref()?;
            next = link.next;
            link.buf.as_mut()
        }
    })
}
