//! environ: the dictionary that describes a request to the application.
//!
//! What is the same for all requests of a location stands in a template, made at its first request. A
//! request copies the template and sets the rest. Every value is a `str` of Latin-1 characters (PEP
//! 3333, "A Note on String Types").

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::py::{latin1, latin1_bytes, set_default};

use super::Host;
use super::exchange::Gateway;
use super::keys::Keys;

/// What is the same for all requests of one location.
#[derive(Clone, Copy, Debug)]
pub struct Constants<'a> {
    /// SERVER_SOFTWARE.
    pub server_software: &'a [u8],
    /// Whether other processes run the same application.
    pub multiprocess: bool,
    /// Whether the authorisation headers are passed.
    pub pass_authorization: bool,
}

/// What differs from request to request. `headers` gives names in lower case.
pub struct Parts<'a, H> {
    pub method: &'a [u8],
    pub script_name: &'a [u8],
    pub path_info: &'a [u8],
    pub query_string: &'a [u8],
    pub request_uri: &'a [u8],
    pub protocol: &'a [u8],
    pub server_name: &'a [u8],
    pub server_addr: &'a [u8],
    pub server_port: &'a [u8],
    pub remote_addr: &'a [u8],
    /// Absent over a UNIX socket.
    pub remote_port: Option<&'a [u8]>,
    /// Only if nginx has checked it.
    pub remote_user: Option<&'a [u8]>,
    pub document_root: &'a [u8],
    /// The length of the body, if the client sent one.
    pub content_length: Option<u64>,
    /// Protocol and cipher of a TLS connection.
    pub tls: Option<(&'a [u8], &'a [u8])>,
    pub headers: H,
}

/// The template of one location.
pub struct Environ {
    template: Py<PyDict>,
    pass_authorization: bool,
}

impl Environ {
    /// Makes the template.
    pub fn new<H: Host>(
        py: Python<'_>,
        gateway: &Gateway<H>,
        constants: &Constants<'_>,
    ) -> PyResult<Self> {
        let keys = gateway.keys();
        let dict = PyDict::new(py);
        // Keys that every request has stand here in their usual order, so that setting them later
        // replaces a value and never makes the dictionary grow.
        let always = [
            &keys.request_method,
            &keys.script_name,
            &keys.path_info,
            &keys.query_string,
            &keys.request_uri,
            &keys.server_protocol,
            &keys.server_name,
            &keys.server_addr,
            &keys.server_port,
            &keys.remote_addr,
            &keys.document_root,
            &keys.request_scheme,
            &keys.wsgi_url_scheme,
            &keys.wsgi_input,
            &keys.wsgi_errors,
        ];
        for key in always {
            dict.set_item(key, &keys.empty)?;
        }
        dict.set_item(&keys.server_software, latin1(py, constants.server_software)?)?;
        dict.set_item(&keys.wsgi_version, (1, 0))?;
        dict.set_item(&keys.wsgi_input_terminated, true)?;
        dict.set_item(&keys.wsgi_multithread, false)?;
        dict.set_item(&keys.wsgi_multiprocess, constants.multiprocess)?;
        dict.set_item(&keys.wsgi_run_once, false)?;
        dict.set_item(&keys.wsgi_file_wrapper, gateway.file_wrapper_type())?;
        Ok(Self { template: dict.unbind(), pass_authorization: constants.pass_authorization })
    }

    /// The environ of a request.
    pub fn build<'py, 'a, H: Host>(
        &self,
        py: Python<'py>,
        gateway: &Gateway<H>,
        parts: Parts<'a, impl Iterator<Item = (&'a [u8], &'a [u8])>>,
        input: &Bound<'py, PyAny>,
        errors: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let keys = gateway.keys();
        let dict = self.template.bind(py).copy()?;
        let set = |key: &Py<PyString>, value: &[u8]| dict.set_item(key, latin1(py, value)?);
        match keys.method(parts.method) {
            Some(method) => dict.set_item(&keys.request_method, method)?,
            None => set(&keys.request_method, parts.method)?,
        }
        match keys.protocol(parts.protocol) {
            Some(protocol) => dict.set_item(&keys.server_protocol, protocol)?,
            None => set(&keys.server_protocol, parts.protocol)?,
        }
        set(&keys.script_name, parts.script_name)?;
        set(&keys.path_info, parts.path_info)?;
        set(&keys.query_string, parts.query_string)?;
        set(&keys.request_uri, parts.request_uri)?;
        set(&keys.server_name, parts.server_name)?;
        set(&keys.server_addr, parts.server_addr)?;
        set(&keys.server_port, parts.server_port)?;
        set(&keys.remote_addr, parts.remote_addr)?;
        set(&keys.document_root, parts.document_root)?;
        let scheme = if parts.tls.is_some() { &keys.https } else { &keys.http };
        dict.set_item(&keys.request_scheme, scheme)?;
        dict.set_item(&keys.wsgi_url_scheme, scheme)?;
        dict.set_item(&keys.wsgi_input, input)?;
        dict.set_item(&keys.wsgi_errors, errors)?;
        if let Some(port) = parts.remote_port {
            set(&keys.remote_port, port)?;
        }
        if let Some(user) = parts.remote_user {
            set(&keys.remote_user, user)?;
        }
        if let Some((protocol, cipher)) = parts.tls {
            dict.set_item(&keys.https_key, &keys.on)?;
            set(&keys.ssl_protocol, protocol)?;
            set(&keys.ssl_cipher, cipher)?;
        }
        if let Some(length) = parts.content_length {
            set(&keys.content_length, length.to_string().as_bytes())?;
        }
        for (name, value) in parts.headers {
            self.set_header(keys, &dict, name, value)?;
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
        let key = match name {
            b"content-type" => keys.content_type.bind(py).clone(),
            // The length is that of the decoded body. HTTP_PROXY is a variable that programs trust.
            b"content-length" | b"transfer-encoding" | b"proxy" => return Ok(()),
            b"authorization" | b"proxy-authorization" if !self.pass_authorization => return Ok(()),
            name => keys.header(py, name),
        };
        let value = latin1(py, value)?;
        match set_default(dict, &key, &value)? {
            None => Ok(()),
            Some(first) => join(dict, name, &key, &first, &value),
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
