/*
 * Preloaded into nginx by tests/harness/faults.py: makes one call of one function fail.
 *
 * A page in a file, shared with the test, says which. The master maps it when it starts, its children inherit it, and
 * only they are meant: nothing fails in the process that mapped it. While `fault` is 0 every call goes through. Once
 * the test has set it, calls are counted that come from the wanted callers, and the one with the number `at` fails;
 * with `lasting` all that follow too. Who calls is told by the return address: nginx's binary, our module, libpython,
 * or something else.
 *
 * Objects of Python are a fault of their own ("python"), by CPython's hooks for allocators. The caller of that is who
 * called into libpython, unless bytecode runs in between: what the application asks for is its own business.
 */

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
/* The last one: it makes open() another name of open64() in headers that come after it. */
#include <Python.h>

/* The order is that of FAULTS in tests/harness/faults.py. */
enum fault { NONE, MEMORY, PYTHON, READ, WRITE, WRITEV, SENDFILE, OPEN, EVENTFD, EPOLL_CTL, PTHREAD_CREATE, MMAP, PREAD,
             PWRITE, RECV, SEND, ACCEPT, FCNTL, PIPE };

enum caller { BY_NGINX = 1, BY_MODULE = 2, BY_PYTHON = 4, BY_OTHERS = 8, BY_US = 0 };

#define FRAMES 24

/* The order is that of Page in tests/harness/faults.py; every field has eight bytes. */
struct page {
    _Atomic uint64_t fault;
    uint64_t callers;
    uint64_t pid;          /* only in this process; 0 is every child */
    uint64_t error;
    uint64_t at;
    uint64_t lasting;
    uint64_t least;        /* memory: smaller requests are not counted */
    _Atomic uint64_t calls;
    _Atomic uint64_t injected;
    _Atomic int64_t clock; /* nanoseconds that are added to the time of day */
    uint64_t module;       /* where the module is mapped, and who called, for the report */
    uint64_t count;
    uint64_t frames[FRAMES];
};

static struct page *page;
static char module[4096];
static pid_t master;

/* Initial-exec: such a variable is there without an allocation, which would come back here. */
static __thread int busy __attribute__((tls_model("initial-exec")));

static struct range { uintptr_t start, end; enum caller who; } ranges[8];
static atomic_int known;
static uintptr_t module_at, eval_start, eval_end;

static int
add_range(struct dl_phdr_info *info, size_t size, void *data)
{
    int *count = data;
    uintptr_t start = UINTPTR_MAX, end = 0;
    enum caller who;

    (void) size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *head = &info->dlpi_phdr[i];
        if (head->p_type == PT_LOAD) {
            uintptr_t from = info->dlpi_addr + head->p_vaddr;
            if (from < start)
                start = from;
            if (from + head->p_memsz > end)
                end = from + head->p_memsz;
        }
    }
    if ((uintptr_t) add_range >= start && (uintptr_t) add_range < end) {
        who = BY_US;
    } else if (*count == 0) {
        who = BY_NGINX; /* the program comes first */
    } else if (strcmp(info->dlpi_name, module) == 0) {
        who = BY_MODULE;
        module_at = info->dlpi_addr;
    } else if (strstr(info->dlpi_name, "libpython")) {
        who = BY_PYTHON;
    } else {
        return 0;
    }
    ranges[(*count)++] = (struct range) {start, end, who};
    return *count == sizeof(ranges) / sizeof(*ranges);
}

/* At the first fault of a process, when everything is loaded. Two threads that come here write the same. */
static void
learn(void)
{
    int count = 0;
    Dl_info info;
    const ElfW(Sym) *symbol;
    void *eval = dlsym(RTLD_DEFAULT, "_PyEval_EvalFrameDefault");

    dl_iterate_phdr(add_range, &count);
    if (eval && dladdr1(eval, &info, (void **) &symbol, RTLD_DL_SYMENT) && symbol) {
        eval_start = (uintptr_t) eval;
        eval_end = eval_start + symbol->st_size;
    }
    atomic_store(&known, 1);
}

static enum caller
who_is(uintptr_t address)
{
    for (const struct range *range = ranges; range->end; range++)
        if (address >= range->start && address < range->end)
            return range->who;
    return BY_OTHERS;
}

static int
counts(void **frames, int count, void *direct)
{
    uint64_t callers = page->callers;

    if (direct)
        return (who_is((uintptr_t) direct) & callers) != 0;
    for (int i = 0; i < count; i++) {
        uintptr_t address = (uintptr_t) frames[i];
        enum caller who = who_is(address);
        if (who == BY_PYTHON && address >= eval_start && address < eval_end)
            return (callers & BY_PYTHON) != 0;
        if (who != BY_US && who != BY_PYTHON)
            return (who & callers) != 0;
    }
    return 0;
}

/* Whether this call is to fail; errno is set if so. `direct` is the caller, NULL if it is behind libpython. */
static int
fails_of(enum fault fault, void *direct, size_t size)
{
    void *frames[FRAMES];
    int count = 0, result = 0, saved;
    uint64_t call;

    if (!page || atomic_load_explicit(&page->fault, memory_order_acquire) != fault || busy)
        return 0;
    if (size < page->least)
        return 0;
    saved = errno;
    if (getpid() == master || (page->pid && (uint64_t) getpid() != page->pid))
        return 0;
    busy = 1;
    if (!atomic_load(&known))
        learn();
    if (!direct)
        count = backtrace(frames, FRAMES);
    if (counts(frames, count, direct)) {
        call = atomic_fetch_add(&page->calls, 1) + 1;
        result = call == page->at || (page->lasting && call > page->at);
        if (result && atomic_fetch_add(&page->injected, 1) == 0) {
            count = backtrace(frames, FRAMES);
            page->module = module_at;
            for (int i = 0; i < count; i++)
                page->frames[i] = (uintptr_t) frames[i];
            page->count = count;
        }
    }
    busy = 0;
    errno = result ? (int) page->error : saved;
    return result;
}

static int
fails(enum fault fault, void *direct)
{
    return fails_of(fault, direct, SIZE_MAX);
}

#define CALLER __builtin_return_address(0)
#define REAL(name) ({ \
    static __typeof__(&name) real; \
    if (!real) \
        real = (__typeof__(&name)) dlsym(RTLD_NEXT, #name); \
    real; })

/* -- memory: glibc's own names, because dlsym() itself allocates -- */

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

void *
malloc(size_t size)
{
    return fails_of(MEMORY, CALLER, size) ? NULL : __libc_malloc(size);
}

void *
calloc(size_t count, size_t size)
{
    return fails_of(MEMORY, CALLER, count * size) ? NULL : __libc_calloc(count, size);
}

void *
realloc(void *block, size_t size)
{
    return fails_of(MEMORY, CALLER, size) ? NULL : __libc_realloc(block, size);
}

int
posix_memalign(void **block, size_t alignment, size_t size)
{
    int saved = errno;
    void *made;

    if (fails_of(MEMORY, CALLER, size)) {
        errno = saved;
        return ENOMEM;
    }
    made = __libc_memalign(alignment, size);
    if (!made)
        return ENOMEM;
    *block = made;
    return 0;
}

/* -- Python's memory: pymalloc below, so that nothing else changes -- */

static PyMemAllocatorEx below[2];

static void *
py_malloc(void *ctx, size_t size)
{
    PyMemAllocatorEx *next = ctx;
    return fails(PYTHON, NULL) ? NULL : next->malloc(next->ctx, size);
}

static void *
py_calloc(void *ctx, size_t count, size_t size)
{
    PyMemAllocatorEx *next = ctx;
    return fails(PYTHON, NULL) ? NULL : next->calloc(next->ctx, count, size);
}

static void *
py_realloc(void *ctx, void *block, size_t size)
{
    PyMemAllocatorEx *next = ctx;
    return fails(PYTHON, NULL) ? NULL : next->realloc(next->ctx, block, size);
}

static void
py_free(void *ctx, void *block)
{
    PyMemAllocatorEx *next = ctx;
    next->free(next->ctx, block);
}

/* Not the domain "raw": CPython makes thread states of it, and ends the process if it cannot. */
static void
hook_python(void)
{
    static const PyMemAllocatorDomain domains[] = {PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};

    for (int i = 0; i < 2; i++) {
        PyMemAllocatorEx ours = {&below[i], py_malloc, py_calloc, py_realloc, py_free};
        PyMem_GetAllocator(domains[i], &below[i]);
        PyMem_SetAllocator(domains[i], &ours);
    }
}

/* -- the system -- */

#define CALL(fault, result, type, name, parameters, arguments) \
    type name parameters \
    { \
        return fails(fault, CALLER) ? (type) (result) : REAL(name) arguments; \
    }

CALL(READ, -1, ssize_t, read, (int fd, void *data, size_t size), (fd, data, size))
CALL(WRITE, -1, ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
CALL(WRITEV, -1, ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
CALL(SENDFILE, -1, ssize_t, sendfile, (int to, int from, off_t *at, size_t size), (to, from, at, size))
CALL(SENDFILE, -1, ssize_t, sendfile64, (int to, int from, off64_t *at, size_t size), (to, from, at, size))
CALL(EVENTFD, -1, int, eventfd, (unsigned start, int flags), (start, flags))
CALL(EPOLL_CTL, -1, int, epoll_ctl, (int set, int what, int fd, struct epoll_event *event), (set, what, fd, event))
CALL(MMAP, MAP_FAILED, void *, mmap, (void *at, size_t size, int access, int flags, int fd, off_t from),
     (at, size, access, flags, fd, from))
CALL(MMAP, MAP_FAILED, void *, mmap64, (void *at, size_t size, int access, int flags, int fd, off64_t from),
     (at, size, access, flags, fd, from))
CALL(PREAD, -1, ssize_t, pread, (int fd, void *data, size_t size, off_t at), (fd, data, size, at))
CALL(PREAD, -1, ssize_t, pread64, (int fd, void *data, size_t size, off64_t at), (fd, data, size, at))
CALL(PWRITE, -1, ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
CALL(PWRITE, -1, ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
CALL(PWRITE, -1, ssize_t, pwritev64, (int fd, const struct iovec *parts, int count, off64_t at),
     (fd, parts, count, at))
CALL(RECV, -1, ssize_t, recv, (int fd, void *data, size_t size, int flags), (fd, data, size, flags))
CALL(SEND, -1, ssize_t, send, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags))
CALL(ACCEPT, -1, int, accept4, (int fd, struct sockaddr *address, socklen_t *size, int flags),
     (fd, address, size, flags))
CALL(PIPE, -1, int, pipe2, (int ends[2], int flags), (ends, flags))

/* This one returns its error. */
int
pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument)
{
    int saved = errno;

    if (fails(PTHREAD_CREATE, CALLER)) {
        errno = saved;
        return (int) page->error;
    }
    return REAL(pthread_create)(thread, attributes, start, argument);
}

/* A mode is read where there is one; the last argument is passed on either way, as in glibc's own wrappers. */
#define MODE(flags) ({ \
    va_list more; \
    mode_t mode; \
    va_start(more, flags); \
    mode = (flags) & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0; \
    va_end(more); \
    mode; })

int
open(const char *path, int flags, ...)
{
    mode_t mode = MODE(flags);
    return fails(OPEN, CALLER) ? -1 : REAL(open)(path, flags, mode);
}

int
open64(const char *path, int flags, ...)
{
    mode_t mode = MODE(flags);
    return fails(OPEN, CALLER) ? -1 : REAL(open64)(path, flags, mode);
}

int
openat(int folder, const char *path, int flags, ...)
{
    mode_t mode = MODE(flags);
    return fails(OPEN, CALLER) ? -1 : REAL(openat)(folder, path, flags, mode);
}

int
openat64(int folder, const char *path, int flags, ...)
{
    mode_t mode = MODE(flags);
    return fails(OPEN, CALLER) ? -1 : REAL(openat64)(folder, path, flags, mode);
}

/* Only what makes a descriptor fails. */
#define FCNTL_CALL(name) \
    int name(int fd, int command, ...) \
    { \
        va_list more; \
        void *argument; \
        va_start(more, command); \
        argument = va_arg(more, void *); \
        va_end(more); \
        if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && fails(FCNTL, CALLER)) \
            return -1; \
        return REAL(name)(fd, command, argument); \
    }

FCNTL_CALL(fcntl)
FCNTL_CALL(fcntl64)

/* -- the time of day, which administrators and NTP may set; the other clocks are left alone -- */

int
clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = REAL(clock_gettime)(clock, time);
    int64_t more = page ? atomic_load(&page->clock) : 0;

    if (result == 0 && more && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t sum = time->tv_nsec + more % 1000000000;
        time->tv_sec += more / 1000000000 + (sum >= 1000000000) - (sum < 0);
        time->tv_nsec = (sum + 1000000000) % 1000000000;
    }
    return result;
}

int
gettimeofday(struct timeval *restrict value, void *restrict zone)
{
    struct timespec now;

    (void) zone;
    clock_gettime(CLOCK_REALTIME, &now);
    value->tv_sec = now.tv_sec;
    value->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t
time(time_t *value)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (value)
        *value = now.tv_sec;
    return now.tv_sec;
}

__attribute__((constructor)) static void
start(void)
{
    const char *path = getenv("FAULTS_PAGE"), *wanted = getenv("FAULTS_MODULE");
    void *frames[2];
    int fd;

    /* Workers have no such variables. */
    if (!path || !wanted || strlen(wanted) >= sizeof(module))
        return;
    strcpy(module, wanted);
    if ((fd = open(path, O_RDWR | O_CLOEXEC)) == -1)
        return;
    page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED) {
        page = NULL;
        return;
    }
    master = getpid();
    /* Its first call loads libgcc, which is not to happen in the middle of malloc(). */
    backtrace(frames, 2);
    hook_python();
}
