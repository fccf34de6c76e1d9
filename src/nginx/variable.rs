//! nginx's variables, read and set by name while a request is served.

use core::fmt;

use nginx_sys::{
    NGX_HTTP_VAR_CHANGEABLE, NGX_HTTP_VAR_INDEXED, ngx_hash_find, ngx_hash_strlow,
    ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_get_variable, ngx_http_variable_t,
    ngx_http_variable_value_t, ngx_str_t, ngx_uint_t,
};

use super::pool;
use super::request::Request;

/// Why a variable is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is none of this name.
    Unknown,
    /// nginx computes it.
    Constant,
    /// The value could end a line of a head: CR, LF or NUL.
    Control,
    NoMemory,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "there is no such variable of nginx",
            Self::Control => "the value holds CR, LF or NUL",
            Self::Constant => "this variable of nginx cannot be set",
            Self::NoMemory => "memory runs out",
        })
    }
}

/// A name in lower case, with its hash.
struct Name {
    text: Vec<u8>,
    hash: ngx_uint_t,
}

impl Name {
    fn new(name: &[u8]) -> Self {
        let mut text = vec![0; name.len()];
        // SAFETY: both have this length.
        let hash =
            unsafe { ngx_hash_strlow(text.as_mut_ptr(), name.as_ptr().cast_mut(), name.len()) };
        Self { text, hash }
    }
}

/// What `f` makes of the value of a variable for `r`, a name without the dollar sign. `None` if it has none or is
/// unknown.
pub fn get<R>(r: Request<'_>, name: &[u8], f: impl FnOnce(&[u8]) -> R) -> Option<R> {
    let mut name = Name::new(name);
    let mut text = ngx_str_t { len: name.text.len(), data: name.text.as_mut_ptr() };
    // SAFETY: the request is live; the name is used during the call only. Wherever the value is, it stays while
    // nobody changes the request.
    unsafe {
        let value = ngx_http_get_variable(r.as_ptr(), &mut text, name.hash).as_ref()?;
        if value.not_found() != 0 {
            return None;
        }
        Some(match value.len() as usize {
            0 => f(&[]),
            length => f(core::slice::from_raw_parts(value.data, length)),
        })
    }
}

/// Sets a variable for `r`, as the directive `set` does.
///
/// # Errors
/// Why it stays as it is.
pub fn set(r: Request<'_>, name: &[u8], value: &[u8]) -> Result<(), Refused> {
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(Refused::Control);
    }
    let name = Name::new(name);
    // SAFETY: the request is live. The configuration of the core module is complete: its variables have been
    // hashed, and each request has values for all that are indexed.
    unsafe {
        let conf = main_conf(r);
        let found = ngx_hash_find(
            &raw mut (*conf).variables_hash,
            name.hash,
            name.text.as_ptr().cast_mut(),
            name.text.len(),
        );
        let Some(variable) = found.cast::<ngx_http_variable_t>().as_ref() else {
            return Err(if is_computed(r, &name.text) {
                Refused::Constant
            } else {
                Refused::Unknown
            });
        };
        if variable.flags & NGX_HTTP_VAR_CHANGEABLE as ngx_uint_t == 0 {
            return Err(Refused::Constant);
        }
        let value = new_value(r, value).ok_or(Refused::NoMemory)?;
        if let Some(handler) = variable.set_handler {
            let place = pool::zeroed::<ngx_http_variable_value_t>(r.pool());
            let place = place.ok_or(Refused::NoMemory)?.as_ptr();
            place.write(value);
            handler(r.as_ptr(), place, variable.data);
            return Ok(());
        }
        if variable.flags & NGX_HTTP_VAR_INDEXED as ngx_uint_t == 0 {
            return Err(Refused::Constant);
        }
        (*r.as_ptr()).variables.add(variable.index).write(value);
    }
    Ok(())
}

/// A value that is a copy of `bytes`. `None` if memory runs out, or it does not fit.
fn new_value(r: Request<'_>, bytes: &[u8]) -> Option<ngx_http_variable_value_t> {
    /// The length has 28 bits.
    const LIMIT: usize = 1 << 28;
    // SAFETY: the request is live, and with it its pool; zeroes are a valid value.
    unsafe {
        let copy = pool::copy(r.pool(), bytes).filter(|copy| copy.len() < LIMIT)?;
        let mut value: ngx_http_variable_value_t = core::mem::zeroed();
        value.set_len(copy.len() as u32);
        value.set_valid(1);
        value.data = copy.as_mut_ptr();
        Some(value)
    }
}

/// Whether it is one of those that nginx computes from their name: `http_...`, `arg_...`.
fn is_computed(r: Request<'_>, name: &[u8]) -> bool {
    // SAFETY: as in `set`; the array is one of variables with their names.
    unsafe {
        let prefixes = &(*main_conf(r)).prefix_variables;
        (0..prefixes.nelts).any(|index| {
            let variable = &*prefixes.elts.cast::<ngx_http_variable_t>().add(index);
            name.starts_with(variable.name.as_bytes())
        })
    }
}

fn main_conf(r: Request<'_>) -> *mut ngx_http_core_main_conf_t {
    // SAFETY: the core module has a main configuration.
    unsafe { (*(*r.as_ptr()).main_conf.add(ngx_http_core_module.ctx_index)).cast() }
}
