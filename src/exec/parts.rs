//! What an application is told of a request, gathered from nginx.

use std::vec::IntoIter;

use crate::conf::{Constants, LocationConf, Service, Var};
use crate::error::Error;
use crate::nginx::{Headers, LocalAddress, Request, process};
use crate::wsgi::{Mount, Parts};

/// The parts of environ as they stand in nginx's memory.
pub type RequestParts<'a> = Parts<'a, Headers<'a>, IntoIter<Option<&'a [u8]>>>;

/// Finds out, at the first request of a location, what is the same for all of them.
pub fn find_constants(r: Request<'_>, service: &Service) {
    service.constants.get_or_init(|| Constants {
        server_software: process::NGINX_VERSION.to_bytes(),
        server_name: plain_server_name(r).map(<[u8]>::to_vec),
        document_root: r.constant_root().map(<[u8]>::to_vec),
        multiprocess: process::worker_processes(Request::cycle()) > 1,
    });
}

/// What `f` makes of the parts of environ for `r`.
pub fn with<R>(
    r: Request<'_>,
    conf: &LocationConf,
    f: impl FnOnce(RequestParts<'_>) -> Result<R, Error>,
) -> Result<R, Error> {
    let (script_name, path_info) = split_uri(r, conf)?;
    let local = r.local_address();
    let mut remote_port = itoa::Buffer::new();
    let tls = r.tls();
    f(Parts {
        method: r.method(),
        script_name,
        path_info,
        query_string: r.args(),
        request_uri: r.unparsed_uri(),
        protocol: r.protocol(),
        server_name: has_no_name(conf).then(|| host(r, &local)),
        server_addr: &local.text,
        server_port: match (local.port.as_slice(), tls.is_some()) {
            // A UNIX socket has no port, but PEP 3333 wants one.
            (b"", false) => b"80",
            (b"", true) => b"443",
            (port, _) => port,
        },
        remote_addr: r.remote_addr(),
        remote_port: r.remote_port().map(|port| remote_port.format(port).as_bytes()),
        remote_user: r.authenticated_user(),
        document_root: r.constant_root().is_none().then(|| r.evaluated_root()),
        content_length: content_length(r, conf),
        tls,
        headers: r.headers(),
        vars: vars(r, conf)?.into_iter(),
    })
}

fn split_uri<'a>(r: Request<'a>, conf: &'a LocationConf) -> Result<(&'a [u8], &'a [u8]), Error> {
    if !r.uri().starts_with(b"/") {
        let uri = String::from_utf8_lossy(r.uri());
        let text = format!("the rewritten URI \"{uri}\" does not begin with \"/\"");
        return Err(Error::Configuration(text));
    }
    match &conf.script_name {
        None => Ok(conf.mount.split(r.uri())),
        Some(value) => {
            let name = value.evaluate(r).ok_or_else(|| Error::Nginx)?;
            Mount::split_at(name, r.uri()).map_err(Error::Configuration)
        }
    }
}

/// The first `server_name`, if it is a name that a client can use.
fn plain_server_name<'a>(r: Request<'a>) -> Option<&'a [u8]> {
    let name = r.server_name();
    let is_plain = name.first().is_some_and(u8::is_ascii_alphanumeric)
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte));
    is_plain.then_some(name)
}

/// Whether the server has no such name, as `find_constants` has found out.
fn has_no_name(conf: &LocationConf) -> bool {
    let constants = conf.service().ok().and_then(|service| service.constants.get());
    constants.is_none_or(|constants| constants.server_name.is_none())
}

/// SERVER_NAME of a server without a plain name: the host that the client asked for, or else the address.
/// Never empty (PEP 3333, environ Variables).
fn host<'a>(r: Request<'a>, local: &'a LocalAddress) -> &'a [u8] {
    match r.host() {
        b"" => &local.text,
        host => host,
    }
}

/// The length of the body as the application will read it: decoded if it came in chunks.
fn content_length(r: Request<'_>, conf: &LocationConf) -> Option<u64> {
    (r.has_body() && !conf.pass_request_body.is_off()).then(|| r.body_length())
}

/// The values of `wsgi_var`; `None` for one that is empty and to be left out then.
fn vars<'a>(r: Request<'a>, conf: &'a LocationConf) -> Result<Vec<Option<&'a [u8]>>, Error> {
    let value = |var: &'a Var| {
        let value = var.value.evaluate(r).ok_or_else(|| Error::Nginx)?;
        Ok(Some(value).filter(|value| !(var.if_not_empty && value.is_empty())))
    };
    conf.vars.iter().map(value).collect()
}
