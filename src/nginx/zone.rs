//! Shared memory of a configuration: a zone of nginx's that holds one table.
//!
//! Asked for when a configuration has been read as a whole (`worker_processes` too), made by nginx before it
//! is accepted. A reload keeps the memory of a zone whose size is the same, so old and new workers see the
//! same table; otherwise there is a new one, and the old one is there to be copied from.
//!
//! A single process has nobody to share with. Its requests may outlive a reload, which would take a zone
//! away under their feet, so it gets memory of its own, which stays.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use std::sync::Mutex;

use nginx_sys::{
    ngx_conf_t, ngx_cycle_t, ngx_int_t, ngx_list_part_t, ngx_pagesize, ngx_shared_memory_add,
    ngx_shm_zone_t, ngx_slab_calloc, ngx_slab_page_t, ngx_slab_pool_t, ngx_str_t,
};

use crate::shared::Memory;

use super::log::{Level, Log};
use super::{entry, pool, process};

/// What was there before this memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing: it is all zeroes.
    Nothing,
    /// It is the memory of the configuration before; its workers go on using it.
    Same,
    /// It is all zeroes, and the configuration before had this.
    Other(Memory),
}

/// Called in the process that has read a configuration, when its memory is there. The configuration may
/// still be refused, so what the one before uses has to stay usable.
pub type Init = fn(&ngx_cycle_t, Memory, Before);

/// What the zone is asked for with; nginx keeps it as the zone's `data`.
struct Wanted {
    cycle: *const ngx_cycle_t,
    name: &'static str,
    len: usize,
    init: Init,
}

/// nginx's tag: whose zones these are. Another copy of the module has another one, so that it never takes
/// over memory in a layout that it does not know.
static TAG: u8 = 0;

/// The memory of a process without workers, with the cycle and the name it belongs to.
static OWN: Mutex<Vec<(usize, &'static str, Memory)>> = Mutex::new(Vec::new());

/// The memory `name` of the configuration before this one, if it had any.
pub fn before(cycle: &ngx_cycle_t, name: &'static str) -> Option<Memory> {
    if !process::will_have_master(cycle) {
        let own = OWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let old = cycle.old_cycle.addr();
        return own
            .iter()
            .rev()
            .find(|(cycle, other, _)| (*cycle, *other) == (old, name))
            .map(|(_, _, memory)| *memory);
    }
    // SAFETY: while a cycle is made it points to the old one, whose list of zones is empty or complete.
    // The data of a zone with our tag is what `add` has put there.
    unsafe {
        let mut part: *const ngx_list_part_t = &(*cycle.old_cycle).shared_memory.part;
        while let Some(zones) = part.as_ref() {
            for index in 0..zones.nelts {
                let zone = &*zones.elts.cast::<ngx_shm_zone_t>().add(index);
                if zone.tag.cast_const() == (&raw const TAG).cast()
                    && let Some(wanted) = zone.data.cast::<Wanted>().as_ref()
                    && wanted.name == name
                    && let Some(pool) = zone.shm.addr.cast::<ngx_slab_pool_t>().as_ref()
                {
                    let start = NonNull::new(pool.data.cast())?;
                    return Some(Memory::new(start, wanted.len));
                }
            }
            part = zones.next;
        }
    }
    None
}

/// Asks for at least `len` bytes, zeroed; `init` gets them. To be called when the whole configuration has
/// been read, once for a name and configuration. To ask for `Memory::len()` of what was there before keeps
/// that, any other size (rounded up to pages) does not.
///
/// # Errors
/// Memory ran out.
pub fn add(cycle: &ngx_cycle_t, name: &'static str, len: usize, init: Init) -> Result<(), ()> {
    // SAFETY: set when nginx starts.
    let page = unsafe { ngx_pagesize };
    let len = len.next_multiple_of(page);
    if !process::will_have_master(cycle) {
        add_own(cycle, name, len, init);
        return Ok(());
    }
    // The table in one piece, and what nginx needs to look after its pages.
    let care = (len / page * size_of::<ngx_slab_page_t>()).next_multiple_of(page) + 2 * page;
    let wanted = Wanted { cycle, name, len, init };
    // SAFETY: nginx looks at the pool, the cycle and the log of the configuration only; all other fields may
    // be zeroes. The name is static, `wanted` as long-lived as the zone's place in the cycle.
    unsafe {
        let mut cf: ngx_conf_t = core::mem::zeroed();
        cf.cycle = ptr::from_ref(cycle).cast_mut();
        cf.pool = cycle.pool;
        cf.log = cycle.log;
        let wanted = pool::place(cycle.pool, wanted).ok_or(())?;
        let mut name = ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
        let tag = (&raw const TAG).cast_mut().cast();
        let zone = ngx_shared_memory_add(&mut cf, &mut name, len + care, tag);
        let zone = zone.as_mut().ok_or(())?;
        zone.init = Some(made);
        zone.data = ptr::from_mut(wanted).cast();
    }
    Ok(())
}

fn add_own(cycle: &ngx_cycle_t, name: &'static str, len: usize, init: Init) {
    let before = before(cycle, name);
    let kept = before.filter(|before| before.len() == len);
    let memory = kept.unwrap_or_else(|| Memory::leaked(len));
    let mut own = OWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    own.push((ptr::from_ref(cycle).addr(), name, memory));
    drop(own);
    init(cycle, memory, kind(before, memory));
}

fn kind(before: Option<Memory>, memory: Memory) -> Before {
    match before {
        None => Before::Nothing,
        Some(before) if before == memory => Before::Same,
        Some(before) => Before::Other(before),
    }
}

/// Where nginx says that the memory is there.
unsafe extern "C" fn made(zone: *mut ngx_shm_zone_t, _old: *mut c_void) -> ngx_int_t {
    entry::guard(super::ERROR, || {
        // SAFETY: nginx passes a zone that `add` has filled in, with its memory mapped; the start of that is
        // a pool, which the master needs to stay one (it looks for locks of workers that have died).
        unsafe {
            let wanted = &*(*zone).data.cast::<Wanted>();
            let (cycle, pool) = (&*wanted.cycle, (*zone).shm.addr.cast::<ngx_slab_pool_t>());
            if (*pool).data.is_null() {
                (*pool).data = ngx_slab_calloc(pool, wanted.len);
            }
            let Some(start) = NonNull::new((*pool).data.cast::<u8>()) else {
                let text = format!("wsgi: no room in the shared memory zone \"{}\"", wanted.name);
                Log::from_ptr(cycle.log).write(Level::Emerg, text);
                return super::ERROR;
            };
            let memory = Memory::new(start, wanted.len);
            (wanted.init)(cycle, memory, kind(before(cycle, wanted.name), memory));
        }
        super::OK
    })
}
