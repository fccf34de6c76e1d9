//! What a location serves: its application, and how that is called and listened to.
//!
//! Made when the location's configuration is complete, and shared with the threads that work for it, which
//! may outlive a configuration: in a single process that reloads.

use std::sync::{Arc, OnceLock};

use nginx_sys::ngx_msec_t;
use pyo3::Python;

use crate::error::Error;
use crate::exec::Pool;
use crate::nginx::ResponseRules;
use crate::py::{Interpreter, Owned};
use crate::wsgi::{self, App, Environ, Gateway, Host, Protocol};

use super::Mechanism;

/// What a location serves.
pub struct Service {
    pub app: Arc<App>,
    /// The threads that run it; `None`: nginx's thread does.
    pub pool: Option<Arc<Pool>>,
    pub protocol: Protocol,
    pub reloading: Option<Mechanism>,
    pub pass_authorization: bool,
    pub optimize_send_headers: bool,
    pub output_buffering: bool,
    pub write_buffering: bool,
    pub rules: ResponseRules,
    /// Milliseconds; `None`: no limit.
    pub queue_timeout: Option<ngx_msec_t>,
    /// The same: `wsgi_timeout`, `wsgi_slow_log`.
    pub timeout: Option<ngx_msec_t>,
    pub slow_log: Option<ngx_msec_t>,
    pub cancel_on_disconnect: bool,
    /// Names in environ that the configuration adds, and their values where these are constant.
    pub vars: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Found at the first request.
    pub constants: OnceLock<Constants>,
    /// Made at the first request.
    pub environ: OnceLock<Owned<Environ>>,
}

/// What is the same in environ for all requests of the location.
#[derive(Debug)]
pub struct Constants {
    pub server_software: &'static [u8],
    pub server_name: Option<Vec<u8>>,
    pub document_root: Option<Vec<u8>>,
    pub multiprocess: bool,
}

impl Service {
    /// The template of environ, made now if this is the first request. The constants must have been found.
    pub fn template<H: Host>(
        &self,
        py: Python<'_>,
        gateway: &Gateway<H>,
        interpreter: &'static Interpreter,
    ) -> Result<&Environ, Error> {
        if let Some(environ) = self.environ.get() {
            return Ok(environ.get(py));
        }
        let constants = self.constants.get().ok_or_else(|| Error::Nginx)?;
        let vars: Vec<_> =
            self.vars.iter().map(|(name, value)| (name.as_slice(), value.as_deref())).collect();
        let constants = wsgi::Constants {
            server_software: constants.server_software,
            server_name: constants.server_name.as_deref(),
            document_root: constants.document_root.as_deref(),
            multithread: self.pool.is_some(),
            multiprocess: constants.multiprocess,
            pass_authorization: self.pass_authorization,
            vars: &vars,
        };
        // Another thread may be faster, since making it may give the GIL up; then this one is in vain.
        // A thread can block; nginx's own has better to do.
        let extensions = match self.pool {
            None => Some(interpreter.package().extensions(py)?),
            Some(_) => None,
        };
        let environ = Environ::new(py, gateway, &constants, extensions.as_ref())?;
        let made = Owned::new(interpreter, environ);
        Ok(self.environ.get_or_init(|| made).get(py))
    }
}
