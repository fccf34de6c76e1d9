//! The process: which kind it is, and what it has to change before Python starts in it.

use core::ffi::CStr;
use std::ffi::CString;

use nginx_sys::{
    NGX_PROCESS_SIGNALLER, NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER, ngx_argc, ngx_argv,
    ngx_core_conf_t, ngx_core_module, ngx_cycle_t, ngx_exiting, ngx_process, ngx_quit,
    ngx_set_environment, ngx_terminate, ngx_test_config, ngx_worker,
};

/// The nginx this module was built for, "nginx/1.22.1" for example.
pub const NGINX_VERSION: &CStr = nginx_sys::NGINX_VER;

/// Whether this process serves requests. The master, and the helpers that look after caches, do not.
pub fn is_serving() -> bool {
    // SAFETY: set by nginx before any hook of a module runs, and only read here.
    let process = unsafe { ngx_process };
    process == NGX_PROCESS_WORKER as usize || process == NGX_PROCESS_SINGLE as usize
}

/// Whether there is a master process, which replaces a worker that ends.
pub fn has_master() -> bool {
    // SAFETY: as above.
    unsafe { ngx_process != NGX_PROCESS_SINGLE as usize }
}

/// Whether `cycle`, which is being made, is for a master with workers. When nginx starts it does not know yet
/// which process it is in, so the configuration is asked.
pub fn will_have_master(cycle: &ngx_cycle_t) -> bool {
    if old_cycle(cycle).is_some() {
        return has_master();
    }
    // SAFETY: the core module's configuration is complete once the configuration has been read.
    unsafe { (*(*cycle.conf_ctx.add(ngx_core_module.index)).cast::<ngx_core_conf_t>()).master != 0 }
}

/// Has the allocator keep some memory that was freed. glibc's keeps twice as much as the largest block that it has
/// seen freed, and has a larger one mapped by the system. Without this it would return the memory of a body of
/// 1 MiB after each request, only to get it back page by page, which is most of what such a request costs. Not for a
/// process with threads: the heap of each would keep as much.
pub fn keep_freed_memory() {
    // SAFETY: a block is freed that nobody uses. The compiler must not see that.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::free(core::hint::black_box(libc::malloc(4 << 20)));
    }
}

/// Has the allocator return all memory to the system that is free, in pages.
pub fn give_freed_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: may be called in any thread at any time; what is allocated stays where it is.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Whether this process only sends a signal: `nginx -s`.
pub fn is_signaller() -> bool {
    // SAFETY: as above.
    unsafe { ngx_process == NGX_PROCESS_SIGNALLER as usize }
}

/// Gives a child of the master what a worker has: user and groups, environment, folder, and signals, which
/// end it as they end any program.
///
/// # Errors
/// What the system refused.
pub fn become_worker(cycle: &ngx_cycle_t) -> Result<(), String> {
    let failed = |what: &str| Err(format!("{what}: {}", std::io::Error::last_os_error()));
    // SAFETY: called in a process of one thread. The core module's configuration is complete, its strings
    // end in NUL; nginx's function makes the environment from it.
    unsafe {
        for signal in 1..32 {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        let mut none = core::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, core::ptr::null_mut());

        let conf = &*(*cycle.conf_ctx.add(ngx_core_module.index)).cast::<ngx_core_conf_t>();
        // A single process keeps the user that has started it.
        if libc::geteuid() == 0 && conf.master != 0 {
            if libc::setgid(conf.group) == -1 {
                return failed("setgid()");
            }
            if libc::initgroups(conf.username, conf.group) == -1 {
                return failed("initgroups()");
            }
            if libc::setuid(conf.user) == -1 {
                return failed("setuid()");
            }
        }
        // A master that is killed takes it along.
        #[cfg(target_os = "linux")]
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        let folder = &conf.working_directory;
        if folder.len > 0 && libc::chdir(folder.data.cast()) == -1 {
            return failed("chdir()");
        }
        if ngx_set_environment(core::ptr::from_ref(cycle).cast_mut(), core::ptr::null_mut())
            .is_null()
        {
            return failed("the environment");
        }
    }
    Ok(())
}

/// Has this worker end when its requests have ended, as after SIGQUIT. False if it was ending already.
pub fn quit_gracefully() -> bool {
    // SAFETY: flags that nginx's own signal handler sets, and that its loop looks at after each turn.
    unsafe {
        let was_ending = is_ending();
        ngx_quit = 1;
        !was_ending
    }
}

/// Ends this process without another word; the master starts a new one.
pub fn exit_at_once() -> ! {
    // SAFETY: ends the process without running destructors, which is the purpose.
    unsafe { libc::_exit(1) }
}

/// Whether this worker takes no new connections any more: it is to end, or ends.
pub fn is_ending() -> bool {
    // SAFETY: as above.
    unsafe { ngx_quit != 0 || ngx_exiting != 0 || ngx_terminate != 0 }
}

/// Whether the worker has been told to end at once. The master kills it a second later.
pub fn is_terminating() -> bool {
    // SAFETY: a flag that nginx's signal handler sets.
    unsafe { ngx_terminate != 0 }
}

/// Whether nginx starts, as opposed to a reload or `nginx -t`.
pub fn is_starting(cycle: &ngx_cycle_t) -> bool {
    // SAFETY: old_cycle is valid while modules are initialised; nginx's own ngx_is_init_cycle() looks at
    // the same field. ngx_test_config is only read.
    unsafe { ngx_test_config == 0 && (*cycle.old_cycle).conf_ctx.is_null() }
}

/// The configuration before the one that is being made. `None` when nginx starts.
pub fn old_cycle(cycle: &ngx_cycle_t) -> Option<&ngx_cycle_t> {
    // SAFETY: old_cycle is valid while a cycle is made and its modules are initialised.
    unsafe { Some(&*cycle.old_cycle).filter(|old| !old.conf_ctx.is_null()) }
}

/// Which of the workers this one is, counted from 0.
pub fn worker_index() -> usize {
    // SAFETY: set by nginx before any hook of a worker runs.
    unsafe { ngx_worker }
}

/// How many workers `cycle`, which is being made, is to have.
pub fn configured_workers(cycle: &ngx_cycle_t) -> usize {
    if !will_have_master(cycle) {
        return 1;
    }
    // SAFETY: the core module's configuration is complete once the configuration has been read.
    unsafe {
        let conf = *cycle.conf_ctx.add(ngx_core_module.index);
        usize::try_from((*conf.cast::<ngx_core_conf_t>()).worker_processes).unwrap_or(1)
    }
}

/// How many workers serve: `worker_processes`.
pub fn worker_processes(cycle: &ngx_cycle_t) -> usize {
    // SAFETY: the core module's configuration is there once the configuration has been read.
    unsafe {
        let conf = *cycle.conf_ctx.add(ngx_core_module.index);
        let workers = (*conf.cast::<ngx_core_conf_t>()).worker_processes;
        if ngx_process == NGX_PROCESS_SINGLE as usize {
            1
        } else {
            usize::try_from(workers).unwrap_or(1)
        }
    }
}

/// This process, and which of the workers it is. One that is started again has the number of the one before.
pub fn identity() -> (u32, usize) {
    // SAFETY: set by nginx before any hook of a module runs in this process, and only read here.
    unsafe { (std::process::id(), ngx_worker) }
}

/// Whether there is a process with this number; 0 is none.
pub fn is_alive(pid: u32) -> bool {
    let Ok(pid @ 1..) = libc::pid_t::try_from(pid) else { return false };
    // SAFETY: signal 0 only asks.
    let asked = unsafe { libc::kill(pid, 0) };
    asked == 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// The memory that this process occupies, in bytes. `None` where the system does not tell.
pub fn resident_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    // SAFETY: asks for a constant.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * u64::try_from(size).ok()?)
}

/// A number from 0 to `most`, from the generator that nginx has seeded for this worker.
pub fn random(most: u64) -> u64 {
    unsafe extern "C" {
        fn random() -> core::ffi::c_long;
    }
    // SAFETY: touches the C library's own state only, as nginx does on this thread.
    let number = unsafe { random() };
    number.unsigned_abs() % most.saturating_add(1)
}

/// The first word of nginx's command line.
pub fn program_name() -> Vec<u8> {
    // SAFETY: nginx keeps a copy of its arguments in ngx_argv, NUL-terminated strings.
    unsafe {
        if ngx_argc < 1 || (*ngx_argv).is_null() {
            return b"nginx".to_vec();
        }
        CStr::from_ptr((*ngx_argv).cast()).to_bytes().to_vec()
    }
}

/// Sets a variable of the process' environment.
pub fn set_env(name: &CStr, value: &CStr) {
    // SAFETY: called before Python starts; the threads that nginx itself may have read no environment.
    unsafe { libc::setenv(name.as_ptr(), value.as_ptr(), 1) };
}

/// Gives SIGCHLD its default meaning back. nginx's handler, which workers inherit, collects the exit
/// status of every child, and so takes it away from Python's `subprocess`.
pub fn reset_sigchld() {
    // SAFETY: installing the default disposition is always allowed.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Starts a thread. Signals are not blocked in it: children of applications would inherit that, and the system
/// gives the signals of the process to its first thread, which is nginx's, as long as that takes them.
pub fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    // Python's limits of recursion are made for the stack of a process' first thread.
    const STACK: usize = 8 << 20;
    std::thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(f).map(drop)
}

/// `text` as a C string; NUL bytes cannot come from nginx's configuration.
pub fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "")).unwrap_or_default()
}
