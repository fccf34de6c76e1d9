//! The names in environ and a few frequent values, as `str` objects made once per interpreter.

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::py::latin1;

macro_rules! keys {
    ($($field:ident = $text:literal,)*) => {
        /// Interned strings of one interpreter.
        pub struct Keys {
            $(pub $field: Py<PyString>,)*
            headers: Vec<Vec<(&'static [u8], Py<PyString>)>>,
        }

        impl Keys {
            /// Makes the strings.
            pub fn new(py: Python<'_>) -> Self {
                Self {
                    $($field: PyString::intern(py, $text).unbind(),)*
                    headers: header_keys(py),
                }
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

impl Keys {
    /// The key of a header, given its name in lower case: `HTTP_USER_AGENT` for `user-agent`.
    pub fn header<'py>(&self, py: Python<'py>, name: &[u8]) -> Bound<'py, PyString> {
        let known = self.headers.get(name.len()).map(Vec::as_slice).unwrap_or_default();
        match known.iter().find(|(known, _)| *known == name) {
            Some((_, key)) => key.bind(py).clone(),
            None => header_key(py, name).into_bound(py),
        }
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
fn header_keys(py: Python<'_>) -> Vec<Vec<(&'static [u8], Py<PyString>)>> {
    let mut groups = Vec::new();
    for name in HEADERS.map(str::as_bytes) {
        if groups.len() <= name.len() {
            groups.resize_with(name.len() + 1, Vec::new);
        }
        groups[name.len()].push((name, header_key(py, name)));
    }
    groups
}

fn header_key(py: Python<'_>, name: &[u8]) -> Py<PyString> {
    let letters = name.iter().map(|byte| match byte {
        b'-' => '_',
        byte => char::from(byte.to_ascii_uppercase()),
    });
    let key: String = "HTTP_".chars().chain(letters).collect();
    PyString::new(py, &key).unbind()
}
