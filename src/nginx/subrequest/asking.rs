//! What a subrequest asks: its method, its target, and the headers that it inherits.

use core::ptr;

use nginx_sys::{
    NGX_HTTP_COPY, NGX_HTTP_DELETE, NGX_HTTP_GET, NGX_HTTP_HEAD, NGX_HTTP_LOCK, NGX_HTTP_MKCOL,
    NGX_HTTP_MOVE, NGX_HTTP_OPTIONS, NGX_HTTP_PATCH, NGX_HTTP_POST, NGX_HTTP_PROPFIND,
    NGX_HTTP_PROPPATCH, NGX_HTTP_PUT, NGX_HTTP_TRACE, NGX_HTTP_UNLOCK, ngx_http_parse_unsafe_uri,
    ngx_list_init, ngx_list_part_t, ngx_list_t, ngx_str_t, ngx_table_elt_t,
};

use super::Refused;
use crate::nginx::request::{Request, bytes};
use crate::nginx::shim::{
    ngx_wsgi_request_background, ngx_wsgi_request_subrequest_in_memory,
    ngx_wsgi_request_subrequests,
};
use crate::nginx::{OK, pool};

/// The methods that a subrequest may have: those that nginx knows.
pub const METHODS: [(&[u8], u32); 15] = [
    (b"GET", NGX_HTTP_GET),
    (b"HEAD", NGX_HTTP_HEAD),
    (b"POST", NGX_HTTP_POST),
    (b"PUT", NGX_HTTP_PUT),
    (b"DELETE", NGX_HTTP_DELETE),
    (b"MKCOL", NGX_HTTP_MKCOL),
    (b"COPY", NGX_HTTP_COPY),
    (b"MOVE", NGX_HTTP_MOVE),
    (b"OPTIONS", NGX_HTTP_OPTIONS),
    (b"PROPFIND", NGX_HTTP_PROPFIND),
    (b"PROPPATCH", NGX_HTTP_PROPPATCH),
    (b"LOCK", NGX_HTTP_LOCK),
    (b"UNLOCK", NGX_HTTP_UNLOCK),
    (b"PATCH", NGX_HTTP_PATCH),
    (b"TRACE", NGX_HTTP_TRACE),
];

/// Headers of the client that a subrequest does not inherit: they are about the client's body, or ask for less
/// than a whole response in plain bytes.
const DISINHERITED: [&[u8]; 16] = [
    b"accept-encoding",
    b"content-encoding",
    b"content-length",
    b"content-range",
    b"content-type",
    b"expect",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"range",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
];

/// Whether `r` may have subrequests.
pub fn may_ask(r: Request<'_>) -> Result<(), Refused> {
    // SAFETY: the request and its parents are live.
    unsafe {
        let request = r.as_ptr();
        if ngx_wsgi_request_subrequests(request) == 0 {
            return Err(Refused::TooDeep);
        }
        if ngx_wsgi_request_subrequest_in_memory(request) != 0 {
            return Err(Refused::InMemory);
        }
        let mut next = request;
        while let Some(ancestor) = next.as_ref() {
            if ngx_wsgi_request_background(next) != 0 {
                return Err(Refused::Background);
            }
            next = ancestor.parent;
        }
    }
    Ok(())
}

/// The path, decoded, and the arguments, in the pool of `r`.
pub fn target(r: Request<'_>, uri: &[u8], args: &[u8]) -> Result<(ngx_str_t, ngx_str_t), Refused> {
    if !uri.starts_with(b"/") {
        return Err(Refused::Relative);
    }
    // SAFETY: the request is live; nginx gets strings of its pool.
    unsafe {
        let mut uri = pool::string(r.pool(), uri).ok_or(Refused::NoMemory)?;
        let (mut query, mut flags) = (ngx_str_t::empty(), 0);
        match ngx_http_parse_unsafe_uri(r.as_ptr(), &mut uri, &mut query, &mut flags) {
            OK => {}
            _ => return Err(Refused::Unsafe),
        }
        let parts = [bytes(&query), args];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let args = parts.join(&b'&');
        if args.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
            return Err(Refused::Unquoted);
        }
        Ok((uri, pool::string(r.pool(), &args).ok_or(Refused::NoMemory)?))
    }
}

/// The headers of `r` for a subrequest: a list of the same elements, without some of them. `None` if memory runs
/// out.
pub fn inherited(r: Request<'_>) -> Option<ngx_list_t> {
    // SAFETY: the request is live. Its headers are a list of ngx_table_elt_t, each with a key in lower case
    // as long as the key. The new list is in the pool, but for its head.
    unsafe {
        let mut runs: Vec<&[ngx_table_elt_t]> = Vec::new();
        let mut part = Some(&(*r.as_ptr()).headers_in.headers.part);
        while let Some(current) = part {
            if current.nelts > 0 {
                let elements = core::slice::from_raw_parts(current.elts.cast(), current.nelts);
                runs.extend(elements.split(is_disinherited).filter(|run| !run.is_empty()));
            }
            part = current.next.as_ref();
        }
        let mut list: ngx_list_t = core::mem::zeroed();
        let size = size_of::<ngx_table_elt_t>();
        let Some((first, rest)) = runs.split_first() else {
            // Kept by the pool: a part to push to.
            return (ngx_list_init(&mut list, r.pool(), 4, size) == OK).then_some(list);
        };
        list.part = part_of(first);
        list.size = size;
        list.pool = r.pool();
        list.nalloc = first.len();
        let mut slot = &raw mut list.part.next;
        for run in rest {
            let part = pool::zeroed::<ngx_list_part_t>(r.pool())?.as_ptr();
            part.write(part_of(run));
            *slot = part;
            slot = &raw mut (*part).next;
            list.last = part;
            // A full one, so that whoever adds a header gets a new part.
            list.nalloc = run.len();
        }
        Some(list)
    }
}

fn part_of(run: &[ngx_table_elt_t]) -> ngx_list_part_t {
    ngx_list_part_t {
        elts: run.as_ptr().cast_mut().cast(),
        nelts: run.len(),
        next: ptr::null_mut(),
    }
}

fn is_disinherited(header: &ngx_table_elt_t) -> bool {
    // SAFETY: lowcase_key has the length of key.
    let name = unsafe { core::slice::from_raw_parts(header.lowcase_key, header.key.len) };
    DISINHERITED.contains(&name)
}
