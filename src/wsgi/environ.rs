//! environ: the dictionary that describes a request to the application.
//!
//! What is the same for all requests of a location stands in a template, made at its first request. A
//! request copies the template and sets the rest. Every value is a `str` of Latin-1 characters (PEP
//! 3333, "A Note on String Types").

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::py::{latin1, latin1_bytes, set, set_default};

use super::Host;
use super::exchange::Gateway;
use super::keys::Keys;
use super::template::Template;

/// What is the same for all requests of one location.
#[derive(Clone, Copy, Debug)]
pub struct Constants<'a> {
    /// SERVER_SOFTWARE.
    pub server_software: &'a [u8],
    /// SERVER_NAME, unless the request decides.
    pub server_name: Option<&'a [u8]>,
    /// DOCUMENT_ROOT, unless it depends on the request.
    pub document_root: Option<&'a [u8]>,
    /// Whether other threads of this process run the same application.
    pub multithread: bool,
    /// Whether other processes do.
    pub multiprocess: bool,
    /// Whether the authorisation headers are passed.
    pub pass_authorization: bool,
    /// The entries that the configuration adds: their names, and their values where these are constant.
    pub vars: &'a [(&'a [u8], Option<&'a [u8]>)],
}

/// What differs from request to request. `headers` gives names in lower case; `vars` gives the values of
/// the configuration's entries, in their order, `None` for one that is to be left out.
pub struct Parts<'a, H, V> {
    pub method: &'a [u8],
    pub script_name: &'a [u8],
    pub path_info: &'a [u8],
    pub query_string: &'a [u8],
    pub request_uri: &'a [u8],
    pub protocol: &'a [u8],
    /// Unless the constants have it.
    pub server_name: Option<&'a [u8]>,
    pub server_addr: &'a [u8],
    pub server_port: &'a [u8],
    pub remote_addr: &'a [u8],
    /// Absent over a UNIX socket.
    pub remote_port: Option<&'a [u8]>,
    /// Only if nginx has checked it.
    pub remote_user: Option<&'a [u8]>,
    /// Unless the constants have it.
    pub document_root: Option<&'a [u8]>,
    /// The length of the body, if the client sent one.
    pub content_length: Option<u64>,
    /// Protocol and cipher of a TLS connection.
    pub tls: Option<(&'a [u8], &'a [u8])>,
    pub headers: H,
    pub vars: V,
}

impl<'a, H: Headers<'a>, V> Parts<'a, H, V> {
    /// How many entries they need that a template does not have.
    fn entries(&self) -> usize {
        let headers = self.headers.size_hint().1.unwrap_or(usize::MAX / 2);
        let others = [self.remote_user.is_some(), self.content_length.is_some()];
        let others: usize = others.into_iter().map(usize::from).sum();
        headers + others + if self.tls.is_some() { 3 } else { 0 }
    }
}

/// Names, in lower case, and values of headers. The upper bound of `size_hint` says how many entries they need.
pub trait Headers<'a>: Iterator<Item = (&'a [u8], &'a [u8])> {}
impl<'a, I: Iterator<Item = (&'a [u8], &'a [u8])>> Headers<'a> for I {}

/// Values of the configuration's entries.
pub trait Vars<'a>: Iterator<Item = Option<&'a [u8]>> {}
impl<'a, I: Iterator<Item = Option<&'a [u8]>>> Vars<'a> for I {}

/// The templates of one location.
pub struct Environ {
    /// The one that fits most requests.
    template: Template,
    /// The same with room for the headers of a browser: it costs more to copy, but less than to grow.
    roomy: Template,
    pass_authorization: bool,
    vars: Vec<Var>,
}

/// An entry that the configuration adds.
struct Var {
    key: Py<PyString>,
    constant: Option<Py<PyString>>,
}

impl Environ {
    /// Makes the template. Keys that every request has stand in it already, with their most frequent
    /// value: setting another one does not make the dictionary grow, and often nothing is to be set.
    /// `extensions`: keys that PEP 3333 does not know, and their values.
    pub fn new<H: Host>(
        py: Python<'_>,
        gateway: &Gateway<H>,
        constants: &Constants<'_>,
        extensions: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let keys = gateway.keys();
        let dict = PyDict::new(py);
        dict.set_item(&keys.request_method, &keys.get)?;
        dict.set_item(&keys.script_name, &keys.empty)?;
        dict.set_item(&keys.path_info, &keys.empty)?;
        dict.set_item(&keys.query_string, &keys.empty)?;
        dict.set_item(&keys.request_uri, &keys.empty)?;
        dict.set_item(&keys.server_protocol, &keys.http_1_1)?;
        dict.set_item(&keys.server_name, latin1(py, constants.server_name.unwrap_or_default())?)?;
        dict.set_item(&keys.server_addr, &keys.empty)?;
        dict.set_item(&keys.server_port, &keys.empty)?;
        dict.set_item(&keys.server_software, latin1(py, constants.server_software)?)?;
        dict.set_item(&keys.remote_addr, &keys.empty)?;
        dict.set_item(&keys.remote_port, &keys.empty)?;
        let document_root = latin1(py, constants.document_root.unwrap_or_default())?;
        dict.set_item(&keys.document_root, document_root)?;
        dict.set_item(&keys.request_scheme, &keys.http)?;
        dict.set_item(&keys.wsgi_version, (1, 0))?;
        dict.set_item(&keys.wsgi_url_scheme, &keys.http)?;
        dict.set_item(&keys.wsgi_input, gateway.empty_input(py))?;
        dict.set_item(&keys.wsgi_input_terminated, true)?;
        dict.set_item(&keys.wsgi_errors, py.None())?;
        dict.set_item(&keys.wsgi_multithread, constants.multithread)?;
        dict.set_item(&keys.wsgi_multiprocess, constants.multiprocess)?;
        dict.set_item(&keys.wsgi_run_once, false)?;
        dict.set_item(&keys.wsgi_file_wrapper, gateway.files().wrapper())?;
        if let Some(extensions) = extensions {
            dict.update(extensions.as_mapping())?;
        }
        let text = |text: &[u8]| latin1(py, text).map(Bound::unbind);
        let var = |(name, value): &(&[u8], Option<&[u8]>)| {
            Ok(Var { key: text(name)?, constant: value.map(text).transpose()? })
        };
        Ok(Self {
            roomy: Template::roomy(dict.copy()?)?,
            template: Template::new(dict),
            pass_authorization: constants.pass_authorization,
            vars: constants.vars.iter().map(var).collect::<PyResult<_>>()?,
        })
    }

    /// The environ of a request. `input` is absent if there is no body.
    pub fn build<'py, 'a, H: Host>(
        &self,
        py: Python<'py>,
        gateway: &Gateway<H>,
        parts: Parts<'a, impl Headers<'a>, impl Vars<'a>>,
        input: Option<&Bound<'py, PyAny>>,
        errors: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let keys = gateway.keys();
        let is_enough = parts.entries() + self.vars.len() <= self.template.room();
        let template = if is_enough { &self.template } else { &self.roomy };
        let dict = template.copy(py, keys, &parts)?;
        set_request(keys, &dict, &parts)?;
        set_connection(keys, &dict, &parts)?;
        set(&dict, &keys.wsgi_errors, errors)?;
        if let Some(input) = input {
            set(&dict, &keys.wsgi_input, input)?;
        }
        for (name, value) in parts.headers {
            self.set_header(keys, &dict, name, value)?;
        }
        // After the headers, so that the configuration has the last word.
        for (var, value) in self.vars.iter().zip(parts.vars) {
            var.set(&dict, value)?;
        }
        Ok(dict)
    }

    fn set_header<'py>(
        &self,
        keys: &Keys,
        dict: &Bound<'py, PyDict>,
        name: &[u8],
        value: &[u8],
    ) -> PyResult<()> {
        let py = dict.py();
        let (key, value) = match name {
            b"content-type" => (keys.content_type.bind(py).clone(), latin1(py, value)?),
            // The length is that of the decoded body. HTTP_PROXY is a variable that programs trust.
            b"content-length" | b"transfer-encoding" | b"proxy" => return Ok(()),
            // An underscore would make these two look like keys that must not exist (PEP 3333, environ
            // Variables); nginx lets them pass with `underscores_in_headers`.
            b"content_type" | b"content_length" => return Ok(()),
            b"authorization" | b"proxy-authorization" if !self.pass_authorization => return Ok(()),
            name => keys.header(py, name, value)?,
        };
        match set_default(dict, &key, &value)? {
            None => Ok(()),
            Some(first) => join(dict, name, &key, &first, &value),
        }
    }
}

/// What a template does not have of a request.
fn set_request<H, V>(
    keys: &Keys,
    dict: &Bound<'_, PyDict>,
    parts: &Parts<'_, H, V>,
) -> PyResult<()> {
    let py = dict.py();
    if parts.method != b"GET" {
        set(dict, &keys.request_method, &keys.method(py, parts.method)?)?;
    }
    if parts.protocol != b"HTTP/1.1" {
        set(dict, &keys.server_protocol, &keys.protocol(py, parts.protocol)?)?;
    }
    if let Some(root) = parts.document_root {
        set(dict, &keys.document_root, &latin1(py, root)?)?;
    }
    if let Some(length) = parts.content_length {
        let length = latin1(py, itoa::Buffer::new().format(length).as_bytes())?;
        set(dict, &keys.content_length, &length)?;
    }
    Ok(())
}

/// What a template does not have of a connection.
fn set_connection<H, V>(
    keys: &Keys,
    dict: &Bound<'_, PyDict>,
    parts: &Parts<'_, H, V>,
) -> PyResult<()> {
    let py = dict.py();
    if let Some(name) = parts.server_name {
        set(dict, &keys.server_name, &latin1(py, name)?)?;
    }
    if let Some(user) = parts.remote_user {
        set(dict, &keys.remote_user, &latin1(py, user)?)?;
    }
    if let Some((protocol, cipher)) = parts.tls {
        dict.set_item(&keys.request_scheme, &keys.https)?;
        dict.set_item(&keys.wsgi_url_scheme, &keys.https)?;
        dict.set_item(&keys.https_key, &keys.on)?;
        set(dict, &keys.ssl_protocol, &latin1(py, protocol)?)?;
        set(dict, &keys.ssl_cipher, &latin1(py, cipher)?)?;
    }
    Ok(())
}

impl Var {
    fn set(&self, dict: &Bound<'_, PyDict>, value: Option<&[u8]>) -> PyResult<()> {
        match (value, &self.constant) {
            (Some(_), Some(constant)) => dict.set_item(&self.key, constant),
            (Some(value), None) => dict.set_item(&self.key, latin1(dict.py(), value)?),
            (None, _) if dict.contains(&self.key)? => dict.del_item(&self.key),
            (None, _) => Ok(()),
        }
    }
}

/// Joins a repeated header with its first value: RFC 9110, 5.3, and for Cookie RFC 6265, 5.4.
fn join<'py>(
    dict: &Bound<'py, PyDict>,
    name: &[u8],
    key: &Bound<'py, PyString>,
    first: &Bound<'py, PyAny>,
    second: &Bound<'py, PyString>,
) -> PyResult<()> {
    let separator: &[u8] = match name {
        // A second type makes no sense and cannot be joined; the first one counts.
        b"content-type" => return Ok(()),
        b"cookie" => b"; ",
        _ => b", ",
    };
    let first = first.cast::<PyString>()?;
    let parts = [latin1_bytes(first)?, Some(separator), latin1_bytes(second)?];
    let joined: Vec<u8> = parts.into_iter().flatten().flatten().copied().collect();
    dict.set_item(key, latin1(dict.py(), &joined)?)
}
