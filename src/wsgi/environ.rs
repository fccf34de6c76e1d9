//! environ: the dictionary that describes a request to the application.
//!
//! What is the same for all requests of a location stands in a template, made at its first
//! request. A request copies the template, or has the dictionary of an earlier one, and sets the
//! rest. Every value is a `str` of Latin-1 characters (PEP 3333, "A Note on String Types").

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::py::{Guarded, latin1, latin1_bytes};

use super::Host;
use super::exchange::Gateway;
use super::keys::{Header, Keys};
use super::lent::Lent;
use super::refill::{Copied, Entries};
use super::template::{Template, USUAL};

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
    /// Tells these templates from all others.
    number: u64,
    refilled: Refilled,
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
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            refilled: Refilled::default(),
        })
    }

    /// The environ of a request, to which `lent` belongs. `input` is absent if there is no body.
    pub fn build<'py, 'a, H: Host>(
        &self,
        py: Python<'py>,
        gateway: &Gateway<H>,
        parts: Parts<'a, impl Headers<'a>, impl Vars<'a>>,
        input: Option<&Bound<'py, PyAny>>,
        lent: &Lent<H>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let keys = gateway.keys();
        let is_enough = parts.entries() + self.vars.len() <= self.template.room();
        let template = if is_enough { &self.template } else { &self.roomy };
        let usual = parts.usual(keys);
        let last = lent.environ.take().filter(|last| last.fits(py, self.number));
        let is_again = last.is_some();
        let mut entries = match last {
            Some(last) => Entries::again(template.dict(py), last),
            None => {
                template.renew(py, &usual)?;
                Entries::copy(template.dict(py), self.refilled.is_worth_it(py))?
            }
        };
        for (index, (key, value)) in usual.into_iter().enumerate() {
            entries.text(key, value, Copied::Same, true, || template.usual(py, index, value))?;
        }
        set_request(py, keys, &mut entries, &parts)?;
        set_connection(py, keys, &mut entries, &parts)?;
        entries.object(&keys.wsgi_errors, lent.errors.bind(py).as_any(), Copied::Other, true)?;
        match input {
            Some(input) => entries.object(&keys.wsgi_input, input, Copied::Other, false)?,
            None => {
                entries.object(&keys.wsgi_input, &gateway.empty_input(py), Copied::Same, true)?;
            }
        }
        for (name, value) in parts.headers {
            if !entries.has_header(name, value)? {
                self.set_header(py, keys, &mut entries, name, value)?;
            }
        }
        // After the headers, so that the configuration has the last word.
        for (var, value) in self.vars.iter().zip(parts.vars) {
            var.set(py, &mut entries, value)?;
        }
        if let Some(is_gone) = &lent.client_disconnected {
            entries.claim(&keys.client_disconnected)?;
            entries.object(&keys.client_disconnected, is_gone.bind(py), Copied::Other, true)?;
        }
        match entries.end()? {
            true => self.refilled.note(py),
            false if is_again && !self.refilled.is_worth_it(py) => entries.give_up()?,
            false => {}
        }
        let (dict, refill) = entries.finish(self.number);
        lent.environ.replace(refill);
        Ok(dict)
    }

    fn set_header<'py>(
        &self,
        py: Python<'py>,
        keys: &Keys,
        entries: &mut Entries<'_, 'py>,
        name: &[u8],
        value: &[u8],
    ) -> PyResult<()> {
        let header = match name {
            b"content-type" => {
                let (key, value) = (keys.content_type.bind(py).clone(), latin1(py, value)?);
                Header { key, value, may_stay: false }
            }
            // The length is that of the decoded body. HTTP_PROXY is a variable that programs trust.
            b"content-length" | b"transfer-encoding" | b"proxy" => return Ok(()),
            // An underscore would make these look like keys that must not exist (PEP 3333, environ
            // Variables); nginx lets them pass with `underscores_in_headers`.
            b"content_type" | b"content_length" | b"transfer_encoding" => return Ok(()),
            b"authorization" | b"proxy-authorization" | b"proxy_authorization"
                if !self.pass_authorization =>
            {
                return Ok(());
            }
            name => keys.header(py, name, value)?,
        };
        match entries.header(name, &header)? {
            None => Ok(()),
            Some(first) => join(entries, name, &header, &first),
        }
    }
}

impl<'a, H, V> Parts<'a, H, V> {
    /// The entries that every request has.
    fn usual<'k>(&self, keys: &'k Keys) -> [(&'k Py<PyString>, &'a [u8]); USUAL] {
        [
            (&keys.script_name, self.script_name),
            (&keys.path_info, self.path_info),
            (&keys.query_string, self.query_string),
            (&keys.request_uri, self.request_uri),
            (&keys.server_addr, self.server_addr),
            (&keys.server_port, self.server_port),
            (&keys.remote_addr, self.remote_addr),
            (&keys.remote_port, self.remote_port.unwrap_or_default()),
        ]
    }
}

/// What a template does not have of a request.
fn set_request<'py, H, V>(
    py: Python<'py>,
    keys: &Keys,
    entries: &mut Entries<'_, 'py>,
    parts: &Parts<'_, H, V>,
) -> PyResult<()> {
    // A template has those that are the most frequent.
    let copied = |is_copied| if is_copied { Copied::Same } else { Copied::Other };
    let (method, protocol) = (parts.method, parts.protocol);
    let is_get = copied(method == b"GET");
    entries.text(&keys.request_method, method, is_get, true, || keys.method(py, method))?;
    let is_1_1 = copied(protocol == b"HTTP/1.1");
    entries.text(&keys.server_protocol, protocol, is_1_1, true, || keys.protocol(py, protocol))?;
    if let Some(root) = parts.document_root {
        entries.new_text(py, &keys.document_root, root, true)?;
    }
    if let Some(length) = parts.content_length {
        let mut buffer = itoa::Buffer::new();
        let length = buffer.format(length).as_bytes();
        entries.new_text(py, &keys.content_length, length, true)?;
    }
    Ok(())
}

/// What a template does not have of a connection.
fn set_connection<'py, H, V>(
    py: Python<'py>,
    keys: &Keys,
    entries: &mut Entries<'_, 'py>,
    parts: &Parts<'_, H, V>,
) -> PyResult<()> {
    if parts.remote_port.is_none() {
        entries.remove(&keys.remote_port)?;
    }
    if let Some(name) = parts.server_name {
        entries.new_text(py, &keys.server_name, name, true)?;
    }
    if let Some(user) = parts.remote_user {
        entries.new_text(py, &keys.remote_user, user, false)?;
    }
    if let Some((protocol, cipher)) = parts.tls {
        entries.object(&keys.request_scheme, keys.https.bind(py), Copied::Other, true)?;
        entries.object(&keys.wsgi_url_scheme, keys.https.bind(py), Copied::Other, true)?;
        entries.object(&keys.https_key, keys.on.bind(py), Copied::Other, true)?;
        entries.new_text(py, &keys.ssl_protocol, protocol, true)?;
        entries.new_text(py, &keys.ssl_cipher, cipher, true)?;
    }
    Ok(())
}

impl Var {
    fn set<'py>(
        &self,
        py: Python<'py>,
        entries: &mut Entries<'_, 'py>,
        value: Option<&[u8]>,
    ) -> PyResult<()> {
        let Some(value) = value else { return entries.remove(&self.key) };
        // It may be the request's own.
        entries.claim(&self.key)?;
        match &self.constant {
            Some(constant) => entries.object(&self.key, constant.bind(py), Copied::Other, true),
            None => entries.new_text(py, &self.key, value, false),
        }
    }
}

/// Joins a repeated header with its first value: RFC 9110, 5.3, and for Cookie RFC 6265, 5.4.
fn join<'py>(
    entries: &mut Entries<'_, 'py>,
    name: &[u8],
    header: &Header<'py>,
    first: &Bound<'py, PyAny>,
) -> PyResult<()> {
    let separator: &[u8] = match name {
        // A second type makes no sense and cannot be joined; the first one counts.
        b"content-type" => return Ok(()),
        b"cookie" => b"; ",
        _ => b", ",
    };
    let first = first.cast::<PyString>()?;
    let parts = [latin1_bytes(first)?, Some(separator), latin1_bytes(&header.value)?];
    let joined: Vec<u8> = parts.into_iter().flatten().flatten().copied().collect();
    entries.overwrite(&header.key, &latin1(first.py(), &joined)?)
}

/// Numbers of templates.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// Whether dictionaries are filled again, so that it is worth noting what is set in them: most frameworks keep or
/// change them, and most clients send other headers than the one before.
#[derive(Default)]
struct Refilled(Guarded<Cell<u32>>);

impl Refilled {
    /// So many requests may pass without one that comes back and fits.
    const PATIENCE: u32 = 32;
    /// After so many others it is tried again.
    const PAUSE: u32 = 1024;

    /// A dictionary has been filled again, and fitted.
    fn note(&self, py: Python<'_>) {
        self.0.with(py, |missed| missed.set(0));
    }

    /// Whether this one is to be noted.
    fn is_worth_it(&self, py: Python<'_>) -> bool {
        self.0.with(py, |missed| {
            let before = missed.get();
            let is_over = before >= Self::PATIENCE + Self::PAUSE;
            missed.set(if is_over { 0 } else { before + 1 });
            before < Self::PATIENCE
        })
    }
}
