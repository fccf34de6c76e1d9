//! The head of a response, written into `headers_out`.
//!
//! nginx keeps some headers in fields of their own, and its filters look there: gzip at
//! Content-Encoding, conditional requests at ETag and Last-Modified, the header filter at Date and
//! Server so as not to send a second one.

use core::ptr;

use nginx_sys::{
    NGX_HTTP_GET, NGX_HTTP_HEAD, ngx_http_headers_out_t, ngx_http_request_t, ngx_list_push,
    ngx_parse_http_time, ngx_str_t, ngx_table_elt_t,
};

use crate::field;

use super::accel::ResponseRules;
use super::pool;
use super::shim::{
    ngx_wsgi_request_set_allow_ranges, ngx_wsgi_request_set_disable_not_modified,
    ngx_wsgi_request_set_header_only, ngx_wsgi_request_set_single_range,
    ngx_wsgi_set_cache_control,
};

/// Whether nginx may cut ranges out of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranges {
    No,
    /// One at a time, because the body comes in several buffers.
    Single,
    /// Any number.
    Multiple,
}

/// Status and headers on their way to nginx.
pub struct ResponseHead<'a, F> {
    pub status: u16,
    /// Status and reason; a bare status leaves the reason to nginx.
    pub status_line: &'a [u8],
    /// Names and values.
    pub fields: F,
    /// The length of the body, if it is known.
    pub content_length: Option<u64>,
    pub ranges: Ranges,
    /// Whether a browser is to ask again at once, by `Refresh: 0`.
    pub is_stale: bool,
}

/// Fills `headers_out`. `None` if memory runs out.
///
/// # Safety
/// `r` must be a live request whose headers have not been sent.
pub(super) unsafe fn apply<'a>(
    r: *mut ngx_http_request_t,
    head: ResponseHead<'a, impl Iterator<Item = (&'a [u8], &'a [u8])>>,
    rules: &ResponseRules,
) -> Option<()> {
    let mut needs_refresh = head.is_stale;
    // SAFETY: by the contract of this function; nothing else refers to headers_out meanwhile.
    unsafe {
        let out = &mut (*r).headers_out;
        out.status = head.status.into();
        out.content_length_n =
            head.content_length.map_or(-1, |length| i64::try_from(length).unwrap_or(i64::MAX));
        for (name, value) in head.fields {
            if !rules.hides(name) {
                set_field(r, name, value)?;
                needs_refresh &= !field::is(name, b"refresh");
            }
        }
        if needs_refresh {
            push(r, b"Refresh", b"0")?;
        }
        if head.status_line.len() > 3 {
            (*r).headers_out.status_line = pool::string((*r).pool, head.status_line)?;
        }
        without_body(r, head.status);
        allow_ranges(r, head.ranges);
        // A precondition of a request that changes something is the application's to check: compared with
        // the new validator it would fail although the change has been made.
        let is_read = matches!((*r).method as u32, NGX_HTTP_GET | NGX_HTTP_HEAD);
        ngx_wsgi_request_set_disable_not_modified(r, usize::from(!is_read));
    }
    Some(())
}

/// Fills in those headers that are kept although the response is not.
///
/// # Safety
/// As for `apply`.
pub(super) unsafe fn keep<'a>(
    r: *mut ngx_http_request_t,
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    is_kept: impl Fn(&[u8]) -> bool,
) -> Option<()> {
    for (name, value) in fields.filter(|(name, _)| is_kept(name)) {
        // SAFETY: by the contract of this function.
        unsafe { set_field(r, name, value)? };
    }
    Some(())
}

/// Lets the range filter work, unless the application speaks of ranges itself. The filter looks at the
/// status and at the length.
unsafe fn allow_ranges(r: *mut ngx_http_request_t, ranges: Ranges) {
    // SAFETY: called by `apply` with its request.
    unsafe {
        let out = &(*r).headers_out;
        if ranges == Ranges::No || !out.accept_ranges.is_null() || !out.content_range.is_null() {
            return;
        }
        ngx_wsgi_request_set_allow_ranges(r, 1);
        ngx_wsgi_request_set_single_range(r, usize::from(ranges == Ranges::Single));
    }
}

/// With a status line of its own the header filter does not look at the status, so what it does for
/// responses without a body is done here.
unsafe fn without_body(r: *mut ngx_http_request_t, status: u16) {
    // SAFETY: called by `apply` with its request.
    unsafe {
        if status == 204 {
            let out = &mut (*r).headers_out;
            out.content_length_n = -1;
            out.content_type = ngx_str_t::empty();
            out.content_type_len = 0;
            out.last_modified_time = -1;
        }
        if status == 204 || status == 304 {
            ngx_wsgi_request_set_header_only(r, 1);
        }
    }
}

/// Adds a header. `None` if memory runs out.
///
/// # Safety
/// `r` must be a live request whose headers have not been sent.
pub(super) unsafe fn set_field(
    r: *mut ngx_http_request_t,
    name: &[u8],
    value: &[u8],
) -> Option<()> {
    // SAFETY: called by `apply` with its request.
    unsafe {
        if field::is(name, b"content-length") {
            // In content_length_n already; a list entry would send it twice.
            return Some(());
        }
        if field::is(name, b"content-type") {
            return set_content_type(r, value);
        }
        let header = push(r, name, value)?;
        let out = &mut (*r).headers_out;
        match lowercase(header) {
            b"date" => out.date = header,
            b"server" => out.server = header,
            b"etag" => out.etag = header,
            b"expires" => out.expires = header,
            b"content-encoding" => out.content_encoding = header,
            b"content-range" => out.content_range = header,
            b"accept-ranges" => out.accept_ranges = header,
            b"www-authenticate" => out.www_authenticate = header,
            b"last-modified" => {
                let value = header.value;
                out.last_modified = header;
                out.last_modified_time = ngx_parse_http_time(value.data, value.len);
            }
            b"cache-control" if ngx_wsgi_set_cache_control(r, header) != super::OK => return None,
            // Location stays out of its field: nginx would make a relative one absolute.
            _ => {}
        }
        Some(())
    }
}

unsafe fn push<'r>(
    r: *mut ngx_http_request_t,
    name: &[u8],
    value: &[u8],
) -> Option<&'r mut ngx_table_elt_t> {
    // SAFETY: called by `apply` with its request; ngx_list_push gives memory for one element, which is
    // zeroed before it is a Rust value.
    unsafe {
        let header: *mut ngx_table_elt_t = ngx_list_push(&mut (*r).headers_out.headers).cast();
        if header.is_null() {
            return None;
        }
        ptr::write_bytes(header, 0, 1);
        let header = &mut *header;
        header.key = pool::string((*r).pool, name)?;
        header.value = pool::string((*r).pool, value)?;
        let lowercase = pool::string((*r).pool, name)?;
        core::slice::from_raw_parts_mut(lowercase.data, lowercase.len).make_ascii_lowercase();
        header.lowcase_key = lowercase.data;
        // Anything but 0, which means deleted.
        header.hash = 1;
        Some(header)
    }
}

fn lowercase(header: &ngx_table_elt_t) -> &'static [u8] {
    // SAFETY: `push` made lowcase_key with the length of key; both live as long as the request, and the
    // result is only compared.
    unsafe { core::slice::from_raw_parts(header.lowcase_key, header.key.len) }
}

/// Content-Type with its charset set apart, as ngx_http_upstream_copy_content_type() does it: the type
/// proper is what `gzip_types` and the like compare.
unsafe fn set_content_type(r: *mut ngx_http_request_t, value: &[u8]) -> Option<()> {
    // SAFETY: called by `apply` with its request.
    unsafe {
        let value = pool::string((*r).pool, value)?;
        let out: &mut ngx_http_headers_out_t = &mut (*r).headers_out;
        out.content_type = value;
        out.content_type_len = value.len;
        out.content_type_lowcase = ptr::null_mut();
        out.charset = ngx_str_t::empty();
        let text = super::request::bytes(&value);
        let Some(semicolon) = text.iter().position(|byte| *byte == b';') else { return Some(()) };
        out.content_type_len = text[..semicolon].trim_ascii_end().len();
        for parameter in text[semicolon + 1..].split(|byte| *byte == b';') {
            let parameter = parameter.trim_ascii();
            let name = b"charset=";
            if parameter.len() > name.len() && parameter[..name.len()].eq_ignore_ascii_case(name) {
                let charset = parameter[name.len()..].trim_ascii();
                let charset = charset.strip_prefix(b"\"").unwrap_or(charset);
                let charset = charset.strip_suffix(b"\"").unwrap_or(charset);
                out.charset = ngx_str_t { len: charset.len(), data: charset.as_ptr().cast_mut() };
            }
        }
        Some(())
    }
}
