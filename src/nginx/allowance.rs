//! Memory for bodies that nginx by itself would write to a file.
//!
//! nginx keeps a body in memory up to `client_body_buffer_size`. Where nobody has set that it is two pages, and the
//! file is most of what a longer body costs. So a worker has an allowance (`wsgi_body_memory`) for bodies whose
//! length is announced: what fits into it is read into memory, the rest goes the usual way. A part of it belongs
//! to the request whose body it is for, and is given back when the request's pool is destroyed.

use core::cell::{Cell, OnceCell};
use core::ffi::c_void;
use core::{ptr, slice};

use nginx_sys::{ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_http_max_module};

use super::pool;
use super::request::Request;

thread_local! {
    /// How many bytes of the allowance are in use. nginx's thread alone has one.
    static USED: Cell<u64> = const { Cell::new(0) };
}

/// A part of the allowance.
struct Part(u64);

impl Part {
    /// So many bytes, if no more than `most` are in use with them.
    fn take(bytes: u64, most: u64) -> Option<Self> {
        let used = USED.get().checked_add(bytes).filter(|used| *used <= most)?;
        USED.set(used);
        Some(Self(bytes))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        USED.set(USED.get() - self.0);
    }
}

/// The configuration of a location, with more memory for bodies; made when it is needed for the first time. It is
/// part of the location's own, because nginx looks into it even after the request, for `keepalive_timeout`.
#[derive(Default)]
pub struct Roomy(OnceCell<Table>);

impl Roomy {
    /// Has nginx read the body of `r` into memory, if it would write it to a file only for want of a setting, and
    /// if an allowance of `most` bytes suffices. To be called before nginx reads the body, for the location's own.
    pub fn serve(&self, r: Request<'_>, most: impl FnOnce() -> u64) {
        let core = r.core();
        let own = 2 * pool::page_size();
        let Some(length) = r.announced_length() else { return };
        // nginx itself takes a quarter more if that is the whole. For HTTP/3 its buffer is always that large.
        if length <= (own + own / 4) as u64
            || core.client_body_buffer_size != own
            || core.client_body_in_file_only != 0
            || !r.is_main()
            || r.has_read_body()
            || r.is_http_3()
        {
            return;
        }
        let most = most();
        let Some(part) = Part::take(length, most) else { return };
        // SAFETY: the request is live, and the part goes with its pool. The table lives as long as that of the
        // location, which it takes the place of.
        unsafe {
            if pool::place(r.pool(), part).is_some() {
                let table = self.0.get_or_init(|| Table::new(r, most as usize));
                (*r.as_ptr()).loc_conf = table.modules.as_ptr().cast_mut();
            }
        }
    }
}

/// What each HTTP module knows of a location. nginx's core has a copy of its own.
struct Table {
    modules: Box<[*mut c_void]>,
    core: *mut ngx_http_core_loc_conf_t,
}

impl Table {
    /// That of the location of `r`, with such a `client_body_buffer_size`. For a body nginx allocates no more than
    /// its length.
    fn new(r: Request<'_>, bytes: usize) -> Self {
        // SAFETY: the request has a table with a place for each HTTP module. What is in that of the core is a plain
        // structure.
        unsafe {
            let mut modules: Box<[_]> =
                slice::from_raw_parts((*r.as_ptr()).loc_conf, ngx_http_max_module).into();
            let core = Box::into_raw(Box::new(ptr::read(r.core())));
            (*core).client_body_buffer_size = bytes;
            modules[ngx_http_core_module.ctx_index] = core.cast();
            Self { modules, core }
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: from `new`, and nobody uses it after the location's own.
        drop(unsafe { Box::from_raw(self.core) });
    }
}
