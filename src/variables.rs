//! nginx variables for the access log: `$wsgi_time` and `$wsgi_queue_time`.

use core::time::Duration;

use nginx_sys::{
    NGX_HTTP_VAR_NOCACHEABLE, ngx_conf_t, ngx_http_add_variable, ngx_http_request_t,
    ngx_http_variable_value_t, ngx_int_t, ngx_str_t,
};

use crate::handler::Job;
use crate::nginx::{self, Request, entry, pool};

type Read = fn(&Job) -> Duration;

/// Their names, and what they say.
const VARIABLES: [(&str, Read); 2] =
    [("wsgi_queue_time", Job::queue_time), ("wsgi_time", Job::run_time)];

/// Adds them to a configuration that is about to be read.
pub fn add(cf: &mut ngx_conf_t) -> ngx_int_t {
    for (index, (name, _)) in VARIABLES.iter().enumerate() {
        let mut name = ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
        // SAFETY: nginx copies the name. The variable is in the configuration's memory.
        unsafe {
            let variable = ngx_http_add_variable(cf, &mut name, NGX_HTTP_VAR_NOCACHEABLE as usize);
            let Some(variable) = variable.as_mut() else { return nginx::ERROR };
            variable.get_handler = Some(get);
            variable.data = index;
        }
    }
    nginx::OK
}

/// The value for a request: seconds with three decimals, as `$upstream_response_time`.
unsafe extern "C" fn get(
    r: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    index: usize,
) -> ngx_int_t {
    entry::guard(nginx::ERROR, || {
        // SAFETY: nginx passes a live request and a place for the value.
        let (r, value) = unsafe { (Request::from_ptr(r), &mut *value) };
        let Some(job) = Job::last_of(r) else {
            value.set_not_found(1);
            return nginx::OK;
        };
        let (_, read) = VARIABLES[index];
        let time = read(job);
        let text = format!("{}.{:03}", time.as_secs(), time.subsec_millis());
        // SAFETY: the pool is that of the request, which is alive.
        let Some(text) = (unsafe { pool::copy(r.pool(), text.as_bytes()) }) else {
            return nginx::ERROR;
        };
        value.set_len(text.len() as u32);
        value.data = text.as_mut_ptr();
        value.set_valid(1);
        value.set_no_cacheable(0);
        value.set_not_found(0);
        nginx::OK
    })
}
