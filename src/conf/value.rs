//! What values of directives become: flags, and texts with nginx variables in them.

use core::mem::MaybeUninit;

use nginx_sys::{
    NGX_CONF_UNSET, ngx_conf_t, ngx_flag_t, ngx_http_compile_complex_value,
    ngx_http_compile_complex_value_t, ngx_http_complex_value, ngx_http_complex_value_t, ngx_str_t,
};

use crate::nginx::Request;

/// A directive that is `on`, `off` or not given. nginx writes it (ngx_conf_set_flag_slot).
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Flag(ngx_flag_t);

impl Default for Flag {
    fn default() -> Self {
        Self(NGX_CONF_UNSET as ngx_flag_t)
    }
}

impl From<bool> for Flag {
    fn from(value: bool) -> Self {
        Self(value.into())
    }
}

impl Flag {
    /// Whether it was given.
    pub fn is_given(self) -> bool {
        self.0 != NGX_CONF_UNSET as ngx_flag_t
    }

    /// Whether it is `on`; not if it was not given.
    pub fn is_on(self) -> bool {
        self.0 == 1
    }

    /// Whether it is `off`; not if it was not given.
    pub fn is_off(self) -> bool {
        self.0 == 0
    }

    /// This one, or else the one of the level around it.
    pub fn or(self, outer: Self) -> Self {
        if self.is_given() { self } else { outer }
    }
}

/// An entry of environ that the configuration gives.
#[derive(Clone)]
pub struct Var {
    pub name: Vec<u8>,
    pub value: ComplexValue,
    /// The key is left out if the value is empty.
    pub if_not_empty: bool,
}

/// A compiled value; its memory is in the configuration's pool.
#[derive(Clone, Copy)]
pub struct ComplexValue(ngx_http_complex_value_t);

impl ComplexValue {
    /// Compiles `text`. nginx logs what is wrong with it.
    ///
    /// # Safety
    /// `cf` must be the configuration that is being read, and `text` be in its pool.
    pub unsafe fn compile(cf: *mut ngx_conf_t, text: *mut ngx_str_t) -> Option<Self> {
        // SAFETY: by the contract of this function; zeroed structures are what nginx starts from.
        unsafe {
            let mut value = MaybeUninit::<ngx_http_complex_value_t>::zeroed();
            let mut compile =
                MaybeUninit::<ngx_http_compile_complex_value_t>::zeroed().assume_init();
            compile.cf = cf;
            compile.value = text;
            compile.complex_value = value.as_mut_ptr();
            let rc = ngx_http_compile_complex_value(&mut compile);
            (rc == crate::nginx::OK).then(|| value.assume_init())
        }
        .map(Self)
    }

    /// The text, if there are no variables in it.
    pub fn constant(&self) -> Option<&[u8]> {
        self.0.lengths.is_null().then(|| self.0.value.as_bytes())
    }

    /// The value for a request. `None` if memory runs out.
    pub fn evaluate<'r>(&self, r: Request<'r>) -> Option<&'r [u8]> {
        let mut result = ngx_str_t::empty();
        // SAFETY: the value is compiled and never written to; the result is in the pool of the request or
        // in that of the configuration.
        unsafe {
            let value = core::ptr::from_ref(&self.0).cast_mut();
            if ngx_http_complex_value(r.as_ptr(), value, &mut result) != crate::nginx::OK {
                return None;
            }
            Some(match result.len {
                0 => &[],
                len => core::slice::from_raw_parts(result.data, len),
            })
        }
    }
}
