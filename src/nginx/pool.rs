//! Values and bytes in nginx's pools.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use nginx_sys::{ngx_pcalloc, ngx_pnalloc, ngx_pool_cleanup_add, ngx_pool_t, ngx_str_t};

/// The size of a page of memory, in bytes.
pub fn page_size() -> usize {
    // SAFETY: set when nginx starts.
    unsafe { nginx_sys::ngx_pagesize }
}

/// Moves `value` into `pool`; it is dropped when the pool is destroyed. `None` if memory runs out.
///
/// # Safety
/// `pool` must be valid. The reference must not be used after the pool is destroyed.
pub unsafe fn place<'a, T>(pool: *mut ngx_pool_t, value: T) -> Option<&'a mut T> {
    // SAFETY: the cleanup's data is memory for a T, aligned as malloc does (NGX_ALIGNMENT, checked
    // below); the handler is set after the value, so it is never called on uninitialised memory.
    unsafe {
        const { assert!(align_of::<T>() <= nginx_sys::NGX_ALIGNMENT) };
        let cleanup = ngx_pool_cleanup_add(pool, size_of::<T>().max(1)).as_mut()?;
        let place = NonNull::new(cleanup.data.cast::<T>())?;
        place.as_ptr().write(value);
        cleanup.handler = Some(drop_in_place::<T>);
        Some(&mut *place.as_ptr())
    }
}

unsafe extern "C" fn drop_in_place<T>(data: *mut c_void) {
    // SAFETY: nginx calls a cleanup once, with the data that `place` has initialised.
    super::entry::quietly(|| unsafe { ptr::drop_in_place(data.cast::<T>()) });
}

/// All values of this type in `pool`, the last one first.
///
/// # Safety
/// `pool` must be valid for 'a.
pub unsafe fn all<'a, T: 'a>(pool: *mut ngx_pool_t) -> impl Iterator<Item = &'a T> {
    // SAFETY: by the contract of this function; cleanups with our handler were made by `place`.
    unsafe {
        let mut next = (*pool).cleanup;
        core::iter::from_fn(move || {
            let cleanup = next.as_ref()?;
            next = cleanup.next;
            Some(cleanup)
        })
        .filter(|cleanup| {
            cleanup
                .handler
                .is_some_and(|handler| handler as usize == drop_in_place::<T> as *const () as usize)
        })
        .map(|cleanup| &*cleanup.data.cast::<T>())
    }
}

/// Copies `bytes` into `pool`. `None` if memory runs out.
///
/// # Safety
/// `pool` must be valid; the result must not be used after it is destroyed.
pub unsafe fn copy<'a>(pool: *mut ngx_pool_t, bytes: &[u8]) -> Option<&'a mut [u8]> {
    // SAFETY: ngx_pnalloc gives that many bytes, which are all written.
    unsafe {
        let copy = NonNull::new(ngx_pnalloc(pool, bytes.len().max(1)).cast::<u8>())?;
        ptr::copy_nonoverlapping(bytes.as_ptr(), copy.as_ptr(), bytes.len());
        Some(core::slice::from_raw_parts_mut(copy.as_ptr(), bytes.len()))
    }
}

/// Copies `bytes` into `pool` as one of nginx's strings. `None` if memory runs out.
///
/// # Safety
/// As for `copy`.
pub unsafe fn string(pool: *mut ngx_pool_t, bytes: &[u8]) -> Option<ngx_str_t> {
    // SAFETY: by the contract of this function.
    let copy = unsafe { copy(pool, bytes)? };
    Some(ngx_str_t { len: copy.len(), data: copy.as_mut_ptr() })
}

/// Zeroed memory for a plain C structure. `None` if memory runs out.
///
/// # Safety
/// `pool` must be valid, and all zeroes a valid T.
pub unsafe fn zeroed<T>(pool: *mut ngx_pool_t) -> Option<NonNull<T>> {
    // SAFETY: by the contract of this function.
    NonNull::new(unsafe { ngx_pcalloc(pool, size_of::<T>()) }.cast::<T>())
}
