//! The names in environ and a few frequent values, as `str` objects made once per interpreter.

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::py::latin1;

use super::memo::Memo;

macro_rules! keys {
    ($($field:ident = $text:literal,)*) => {
        /// Interned strings of one interpreter.
        pub struct Keys {
            $(pub $field: Py<PyString>,)*
            headers: Vec<Vec<Known>>,
        }

        impl Keys {
            /// Makes the strings.
            pub fn new(py: Python<'_>) -> PyResult<Self> {
                Ok(Self {
                    $($field: PyString::intern(py, $text).unbind(),)*
                    headers: header_keys(py)?,
                })
            }
        }
    };
}

keys! {
    request_method = "REQUEST_METHOD",
    script_name = "SCRIPT_NAME",
    path_info = "PATH_INFO",
    query_string = "QUERY_STRING",
    content_type = "CONTENT_TYPE",
    content_length = "CONTENT_LENGTH",
    server_name = "SERVER_NAME",
    server_port = "SERVER_PORT",
    server_protocol = "SERVER_PROTOCOL",
    server_addr = "SERVER_ADDR",
    server_software = "SERVER_SOFTWARE",
    remote_addr = "REMOTE_ADDR",
    remote_port = "REMOTE_PORT",
    remote_user = "REMOTE_USER",
    request_uri = "REQUEST_URI",
    request_scheme = "REQUEST_SCHEME",
    document_root = "DOCUMENT_ROOT",
    https_key = "HTTPS",
    ssl_protocol = "SSL_PROTOCOL",
    ssl_cipher = "SSL_CIPHER",
    wsgi_version = "wsgi.version",
    wsgi_url_scheme = "wsgi.url_scheme",
    wsgi_input = "wsgi.input",
    wsgi_input_terminated = "wsgi.input_terminated",
    wsgi_errors = "wsgi.errors",
    wsgi_multithread = "wsgi.multithread",
    wsgi_multiprocess = "wsgi.multiprocess",
    wsgi_run_once = "wsgi.run_once",
    wsgi_file_wrapper = "wsgi.file_wrapper",
    client_disconnected = "ngx.client_disconnected",
    http = "http",
    https = "https",
    on = "on",
    get = "GET",
    head = "HEAD",
    post = "POST",
    http_1_0 = "HTTP/1.0",
    http_1_1 = "HTTP/1.1",
    http_2_0 = "HTTP/2.0",
    empty = "",
    close = "close",
    iter = "__iter__",
    getitem = "__getitem__",
}

/// Headers that clients and proxies send all the time. Others get a key made for the occasion.
const HEADERS: [&str; 44] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "connection",
    "cookie",
    "dnt",
    "expect",
    "forwarded",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "origin",
    "pragma",
    "priority",
    "proxy-authorization",
    "range",
    "referer",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "sec-gpc",
    "te",
    "traceparent",
    "tracestate",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
    "x-csrftoken",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
    "x-requested-with",
];

/// Those of them that are there for a secret, which is not kept for longer than its request.
const SECRETS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "x-csrftoken"];

/// Values that are longer are seldom the same, and not worth to be kept, in bytes.
pub const LONGEST: usize = 256;

/// A header that comes all the time.
struct Known {
    name: &'static [u8],
    key: Py<PyString>,
    /// Its last value, unless that is a secret.
    last: Option<Memo>,
}

/// Key and value of a header.
pub struct Header<'py> {
    pub key: Bound<'py, PyString>,
    pub value: Bound<'py, PyString>,
    /// Whether the value may be kept for longer than its request.
    pub may_stay: bool,
}

impl Keys {
    /// Key and value of a header, given its name in lower case: `HTTP_USER_AGENT` for `user-agent`.
    pub fn header<'py>(&self, py: Python<'py>, name: &[u8], value: &[u8]) -> PyResult<Header<'py>> {
        let known = self.headers.get(name.len()).map(Vec::as_slice).unwrap_or_default();
        let Some(known) = known.iter().find(|known| known.name == name) else {
            let (key, value) = (header_key(py, name)?, latin1(py, value)?);
            return Ok(Header { key, value, may_stay: false });
        };
        let memo = known.last.as_ref().filter(|_| value.len() <= LONGEST);
        let value = match memo {
            Some(memo) => match memo.last(py, value) {
                Some(last) => last,
                None => {
                    let text = latin1(py, value)?;
                    memo.keep(&text);
                    text
                }
            },
            None => latin1(py, value)?,
        };
        Ok(Header { key: known.key.bind(py).clone(), value, may_stay: memo.is_some() })
    }

    /// The method as a string.
    pub fn method<'py>(&self, py: Python<'py>, method: &[u8]) -> PyResult<Bound<'py, PyString>> {
        match method {
            b"POST" => Ok(self.post.bind(py).clone()),
            b"HEAD" => Ok(self.head.bind(py).clone()),
            method => latin1(py, method),
        }
    }

    /// The protocol as a string.
    pub fn protocol<'py>(
        &self,
        py: Python<'py>,
        protocol: &[u8],
    ) -> PyResult<Bound<'py, PyString>> {
        match protocol {
            b"HTTP/2.0" => Ok(self.http_2_0.bind(py).clone()),
            b"HTTP/1.0" => Ok(self.http_1_0.bind(py).clone()),
            protocol => latin1(py, protocol),
        }
    }
}

/// The keys of `HEADERS`, grouped by the length of the name: two or three comparisons find one.
fn header_keys(py: Python<'_>) -> PyResult<Vec<Vec<Known>>> {
    let mut groups = Vec::new();
    for text in HEADERS {
        let name = text.as_bytes();
        if groups.len() <= name.len() {
            groups.resize_with(name.len() + 1, Vec::new);
        }
        let last = (!SECRETS.contains(&text)).then(Memo::default);
        groups[name.len()].push(Known { name, key: header_key(py, name)?.unbind(), last });
    }
    Ok(groups)
}

fn header_key<'py>(py: Python<'py>, name: &[u8]) -> PyResult<Bound<'py, PyString>> {
    const PREFIX: &[u8] = b"HTTP_";
    let letter = |byte: &u8| if *byte == b'-' { b'_' } else { byte.to_ascii_uppercase() };
    // Most names are short.
    let mut buffer = [0; 64];
    let length = PREFIX.len() + name.len();
    if length > buffer.len() {
        let key: Vec<u8> = PREFIX.iter().copied().chain(name.iter().map(letter)).collect();
        return latin1(py, &key);
    }
    buffer[..PREFIX.len()].copy_from_slice(PREFIX);
    for (to, byte) in buffer[PREFIX.len()..].iter_mut().zip(name) {
        *to = letter(byte);
    }
    latin1(py, &buffer[..length])
}
