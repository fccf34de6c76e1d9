/*
 * Preloaded by valgrind.sh: every object of CPython becomes a block of malloc, which valgrind watches.
 *
 * The allocators may be set before the interpreter is, and an isolated interpreter leaves them as they are.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdlib.h>

static void *
do_malloc(void *ctx, size_t size)
{
    (void) ctx;
    return malloc(size ? size : 1);
}

static void *
do_calloc(void *ctx, size_t count, size_t size)
{
    (void) ctx;
    return calloc(count && size ? count : 1, count && size ? size : 1);
}

static void *
do_realloc(void *ctx, void *block, size_t size)
{
    (void) ctx;
    return realloc(block, size ? size : 1);
}

static void
do_free(void *ctx, void *block)
{
    (void) ctx;
    free(block);
}

__attribute__((constructor)) static void
use_malloc(void)
{
    PyMemAllocatorEx allocator = {NULL, do_malloc, do_calloc, do_realloc, do_free};

    PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &allocator);
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &allocator);
}
