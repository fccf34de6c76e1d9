//! What the location wants done with the head of a response, as nginx's upstream module does it: headers
//! that are hidden, X-Accel headers that tell nginx something, error pages instead of the application's.
//!
//! The rules are made with the configuration and live as long as it.

use nginx_sys::{
    NGX_HTTP_LOG_UNSAFE, ngx_atoi, ngx_http_block_reading, ngx_http_core_get_method,
    ngx_http_err_page_t, ngx_http_internal_redirect, ngx_http_named_location,
    ngx_http_parse_unsafe_uri, ngx_str_t, ngx_uint_t,
};

use super::pool;
use super::request::Request;
use super::shim::ngx_wsgi_request_set_limit_rate_set;

/// Hidden unless `wsgi_pass_header` names them, as by `uwsgi_pass`.
const HIDDEN: [&[u8]; 6] = [
    b"status",
    b"x-accel-buffering",
    b"x-accel-charset",
    b"x-accel-expires",
    b"x-accel-limit-rate",
    b"x-accel-redirect",
];

/// What survives an X-Accel-Redirect: the column `redirect` of ngx_http_upstream_headers_in[].
const KEPT: [&[u8]; 6] = [
    b"accept-ranges",
    b"cache-control",
    b"content-disposition",
    b"content-type",
    b"expires",
    b"set-cookie",
];

/// Which headers of the application tell nginx nothing: `wsgi_ignore_headers`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ignored {
    redirect: bool,
    limit_rate: bool,
    buffering: bool,
    charset: bool,
}

impl Ignored {
    /// Adds a header. False if `uwsgi_ignore_headers` would not take it either. Those that concern a
    /// cache are taken, and tell nothing anyway.
    pub fn add(&mut self, name: &str) -> bool {
        match name.to_ascii_lowercase().as_str() {
            "x-accel-redirect" => self.redirect = true,
            "x-accel-limit-rate" => self.limit_rate = true,
            "x-accel-buffering" => self.buffering = true,
            "x-accel-charset" => self.charset = true,
            "x-accel-expires" | "expires" | "cache-control" | "set-cookie" | "vary" => {}
            _ => return false,
        }
        true
    }
}

/// The rules of a location.
#[derive(Clone, Debug, Default)]
pub struct ResponseRules {
    /// In lower case.
    hidden: Vec<Vec<u8>>,
    /// The lengths of these names, a bit for each: most headers need no comparison.
    hidden_lengths: u64,
    ignored: Ignored,
    /// Statuses that nginx answers by a page of its own.
    intercepted: Vec<u16>,
}

/// What X-Accel headers say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Accel<'a> {
    pub(super) redirect: Option<&'a [u8]>,
    limit_rate: Option<&'a [u8]>,
    charset: Option<&'a [u8]>,
    pub(super) buffering: Option<bool>,
}

/// Where the answer is to come from, instead of the application; in the request's pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect(ngx_str_t);

impl ResponseRules {
    /// Rules of `wsgi_hide_header`, `wsgi_pass_header` (both in lower case), `wsgi_ignore_headers` and, with
    /// `wsgi_intercept_errors`, the location's error pages.
    pub fn new(
        hide: &[Vec<u8>],
        pass: &[Vec<u8>],
        ignored: Ignored,
        error_pages: &[ngx_http_err_page_t],
    ) -> Self {
        let default = HIDDEN.iter().map(|name| name.to_vec());
        let hidden = default.chain(hide.iter().cloned()).filter(|name| !pass.contains(name));
        let hidden: Vec<_> = hidden.collect();
        let hidden_lengths = hidden.iter().fold(0, |lengths, name| lengths | length_bit(name));
        let statuses = error_pages.iter().filter_map(|page| u16::try_from(page.status).ok());
        let intercepted = statuses.filter(|status| *status >= 300).collect();
        Self { hidden, hidden_lengths, ignored, intercepted }
    }

    /// Whether the client does not get to see a header.
    pub(super) fn hides(&self, name: &[u8]) -> bool {
        self.hidden_lengths & length_bit(name) != 0
            && self.hidden.iter().any(|hidden| hidden.eq_ignore_ascii_case(name))
    }

    /// Whether nginx answers a response of this status by a page of its own (`error_page`).
    pub(super) fn intercepts(&self, status: u16) -> bool {
        self.intercepted.contains(&status)
    }

    /// Whether the beginning of a response may be held back: it is the application's to give, and to be
    /// buffered, which its fields may decide instead of `is_buffering`.
    pub fn may_hold<'a>(
        &self,
        status: u16,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        is_buffering: bool,
    ) -> bool {
        let accel = self.accel(fields);
        accel.buffering.unwrap_or(is_buffering)
            && accel.redirect.is_none()
            && !self.intercepts(status)
    }

    /// Whether nginx may hold the body of a response with these fields back.
    pub fn buffers<'a>(
        &self,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        is_buffering: bool,
    ) -> bool {
        self.accel(fields).buffering.unwrap_or(is_buffering)
    }

    /// Reads the X-Accel headers among `fields`, without those that are ignored.
    pub(super) fn accel<'a>(
        &self,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Accel<'a> {
        const PREFIX: &[u8] = b"x-accel-";
        let mut accel = Accel::default();
        for (name, value) in fields {
            // Hardly any header begins so.
            if !matches!(name.first(), Some(b'x' | b'X')) {
                continue;
            }
            let Some((prefix, name)) = name.split_at_checked(PREFIX.len()) else { continue };
            if !prefix.eq_ignore_ascii_case(PREFIX) {
                continue;
            }
            let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
            // Which of several counts differs, as it does with nginx.
            if is("redirect") && !self.ignored.redirect {
                accel.redirect.get_or_insert(value);
            } else if is("limit-rate") && !self.ignored.limit_rate {
                let is_known = cfg!(nginx_1_23) && accel.limit_rate.is_some();
                if !is_known && value.iter().all(u8::is_ascii_digit) {
                    accel.limit_rate = Some(value);
                }
            } else if is("charset") && !self.ignored.charset {
                accel.charset = Some(value);
            } else if is("buffering") && !self.ignored.buffering {
                match value.to_ascii_lowercase().as_slice() {
                    b"yes" => accel.buffering = Some(true),
                    b"no" => accel.buffering = Some(false),
                    _ => {}
                }
            }
        }
        accel
    }
}

impl Accel<'_> {
    /// Tells nginx the rate and the charset. `None` if memory runs out.
    pub(super) fn apply(&self, r: Request<'_>) -> Option<()> {
        // SAFETY: the request is live, and its head has not been sent.
        unsafe {
            let request = r.as_ptr();
            if let Some(rate) = self.limit_rate
                && let Ok(rate) = usize::try_from(ngx_atoi(rate.as_ptr().cast_mut(), rate.len()))
            {
                (*request).limit_rate = rate;
                ngx_wsgi_request_set_limit_rate_set(request, 1);
            }
            if let Some(charset) = self.charset {
                let slot = pool::zeroed::<ngx_str_t>(r.pool())?.as_ptr();
                *slot = pool::string(r.pool(), charset)?;
                (*request).headers_out.override_charset = slot;
            }
        }
        Some(())
    }
}

fn length_bit(name: &[u8]) -> u64 {
    1 << name.len().min(63)
}

/// Whether the header is one of the redirected response as well.
pub(super) fn survives_redirect(name: &[u8]) -> bool {
    KEPT.iter().any(|kept| kept.eq_ignore_ascii_case(name))
}

impl Redirect {
    /// A redirect to `target`, a URI or the name of a location. `None` if memory runs out.
    pub(super) fn new(r: Request<'_>, target: &[u8]) -> Option<Self> {
        // SAFETY: the pool is that of the request, which is alive.
        unsafe { pool::string(r.pool(), target).map(Self) }
    }

    /// Gives the request away, and drops our reference to it; it may be gone afterwards. What
    /// ngx_http_upstream_process_headers() does for upstream servers.
    pub fn follow(mut self, r: Request<'_>) {
        // SAFETY: the request is live, nothing of its answer has been sent, and we hold a reference to it,
        // which is dropped at the end.
        unsafe {
            let request = r.as_ptr();
            (*request).read_event_handler = Some(ngx_http_block_reading);
            if self.0.as_bytes().starts_with(b"@") {
                ngx_http_named_location(request, &mut self.0);
            } else {
                let mut args = ngx_str_t::empty();
                let mut flags: ngx_uint_t = NGX_HTTP_LOG_UNSAFE as ngx_uint_t;
                let rc = ngx_http_parse_unsafe_uri(request, &mut self.0, &mut args, &mut flags);
                if rc != super::OK {
                    return r.finalize(super::NOT_FOUND);
                }
                if !r.is_head() {
                    (*request).method = nginx_sys::NGX_HTTP_GET as usize;
                    (*request).method_name = ngx_http_core_get_method;
                }
                ngx_http_internal_redirect(request, &mut self.0, &mut args);
            }
            r.finalize(super::DONE);
        }
    }
}
