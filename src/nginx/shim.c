/*
 * See shim.h.  Nothing here keeps state; every function may be called from nginx's thread only.
 */

#include "shim.h"


/*
 * build.rs passes what clang found as -DNGX_WSGI_CLANG_SIZEOF_<type>=<bytes>.  A difference means
 * that the C compiler saw other flags or other headers than the Rust bindings did.
 */
#define NGX_WSGI_CHECK(type)                                                                       \
    _Static_assert(sizeof(type) == NGX_WSGI_CLANG_SIZEOF_##type,                                   \
                   "the C compiler and the Rust bindings disagree about the size of " #type);

NGX_WSGI_STRUCTURES(NGX_WSGI_CHECK)


ngx_int_t
ngx_wsgi_set_cache_control(ngx_http_request_t *r, ngx_table_elt_t *h)
{
#if (nginx_version >= 1023000)

    ngx_table_elt_t  **last;

    for (last = &r->headers_out.cache_control; *last; last = &(*last)->next) { /* void */ }

    h->next = NULL;
    *last = h;

#else

    ngx_table_elt_t  **slot;

    if (r->headers_out.cache_control.elts == NULL
        && ngx_array_init(&r->headers_out.cache_control, r->pool, 1, sizeof(ngx_table_elt_t *))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    slot = ngx_array_push(&r->headers_out.cache_control);
    if (slot == NULL) {
        return NGX_ERROR;
    }

    *slot = h;

#endif

    return NGX_OK;
}


#define NGX_WSGI_REQUEST_BIT(field)                                                                \
    ngx_uint_t ngx_wsgi_request_##field(const ngx_http_request_t *r) { return r->field; }          \
    void ngx_wsgi_request_set_##field(ngx_http_request_t *r, ngx_uint_t value) { r->field = value; }

NGX_WSGI_REQUEST_BITS(NGX_WSGI_REQUEST_BIT)
