//! The response to a subrequest, as an application sees it.

use nginx_sys::{ngx_http_headers_out_t, ngx_http_time, ngx_table_elt_t};

use crate::nginx::request::bytes;

/// A response as it would have gone to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// The response that `out` and `body` are. `None` if there is no head.
///
/// # Safety
/// `out` must be that of a live request.
pub unsafe fn response(
    out: &ngx_http_headers_out_t,
    body: Vec<u8>,
    is_head: bool,
) -> Option<Response> {
    let status = u16::try_from(out.status).ok().filter(|status| *status > 0)?;
    let mut fields = Vec::new();
    let mut add = |name: &[u8], value: Vec<u8>| fields.push((name.to_vec(), value));
    let has_body = !matches!(status, 204 | 304);
    if has_body && out.content_type.len > 0 {
        add(b"Content-Type", content_type(out));
    }
    let length = if is_head { out.content_length_n } else { body.len() as i64 };
    if has_body && length >= 0 {
        add(b"Content-Length", length.to_string().into_bytes());
    }
    if out.last_modified.is_null()
        && out.last_modified_time != -1
        && matches!(status, 200 | 206 | 304)
    {
        let mut text = *b"Mon, 28 Sep 1970 06:00:00 GMT";
        // SAFETY: nginx writes a time of this length.
        unsafe { ngx_http_time(text.as_mut_ptr(), out.last_modified_time) };
        add(b"Last-Modified", text.to_vec());
    }
    let mut part = Some(&out.headers.part);
    while let Some(current) = part {
        for index in 0..current.nelts {
            // SAFETY: headers_out.headers is a list of ngx_table_elt_t, nelts of them in this part.
            let header = unsafe { &*current.elts.cast::<ngx_table_elt_t>().add(index) };
            // A header with hash 0 has been deleted.
            if header.hash != 0 {
                add(bytes(&header.key), bytes(&header.value).to_vec());
            }
        }
        // SAFETY: parts of a list live as long as the request; the last one's next is null.
        part = unsafe { current.next.as_ref() };
    }
    Some(Response { status, fields, body })
}

/// Content-Type as the header filter writes it.
fn content_type(out: &ngx_http_headers_out_t) -> Vec<u8> {
    let mut value = bytes(&out.content_type).to_vec();
    if out.content_type_len == out.content_type.len && out.charset.len > 0 {
        value.extend_from_slice(b"; charset=");
        value.extend_from_slice(bytes(&out.charset));
    }
    value
}
