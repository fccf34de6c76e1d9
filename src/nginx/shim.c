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


ngx_uint_t
ngx_wsgi_listening_is_shared(const ngx_listening_t *ls)
{
#if (NGX_HAVE_REUSEPORT)
    return !ls->reuseport;
#else
    return 1;
#endif
}


ngx_int_t
ngx_wsgi_listening_start(ngx_event_t *rev)
{
    ngx_uint_t  flags;

    flags = 0;

#if (NGX_HAVE_EPOLLEXCLUSIVE)

    if (ngx_use_exclusive_accept) {
        flags = NGX_EXCLUSIVE_EVENT;
    }

#endif

    return ngx_add_event(rev, NGX_READ_EVENT, flags);
}


ngx_int_t
ngx_wsgi_listening_stop(ngx_event_t *rev)
{
    return ngx_del_event(rev, NGX_READ_EVENT, NGX_DISABLE_EVENT);
}


ngx_int_t
ngx_wsgi_report(ngx_connection_t *c, ngx_uint_t write, ngx_uint_t on)
{
    ngx_event_t  *ev;
    ngx_int_t     event;

    ev = write ? c->write : c->read;
    event = write ? NGX_WRITE_EVENT : NGX_READ_EVENT;

    if (ev->active == on) {
        return NGX_OK;
    }

    return on ? ngx_add_event(ev, event, NGX_LEVEL_EVENT) : ngx_del_event(ev, event, 0);
}


#define NGX_WSGI_REQUEST_BIT(field)                                                                \
    ngx_uint_t ngx_wsgi_request_##field(const ngx_http_request_t *r) { return r->field; }          \
    void ngx_wsgi_request_set_##field(ngx_http_request_t *r, ngx_uint_t value) { r->field = value; }

NGX_WSGI_REQUEST_BITS(NGX_WSGI_REQUEST_BIT)


void
ngx_wsgi_request_hold(ngx_http_request_t *r)
{
    r->main->count++;
}


/* Absent when nginx was built without it. */
extern ngx_module_t  ngx_http_auth_basic_module  __attribute__((weak));


ngx_uint_t
ngx_wsgi_is_user_checked(ngx_http_request_t *r)
{
    ngx_str_t                   realm;
    ngx_http_complex_value_t  **conf;
    ngx_http_core_loc_conf_t   *clcf;

    /* Access is checked for the main request only, and not always before an error page. */

    r = r->main;

    if (&ngx_http_auth_basic_module == NULL || r->err_status) {
        return 0;
    }

    /* With "satisfy any" another check may have let the request pass. */

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (clcf->satisfy != NGX_HTTP_SATISFY_ALL) {
        return 0;
    }

    /* The first field of its configuration is the realm, in all versions of nginx since 1.3.10. */

    conf = ngx_http_get_module_loc_conf(r, ngx_http_auth_basic_module);

    if (*conf == NULL || *conf == NGX_CONF_UNSET_PTR
        || ngx_http_complex_value(r, *conf, &realm) != NGX_OK)
    {
        return 0;
    }

    return !(realm.len == 3 && ngx_strncmp(realm.data, "off", 3) == 0);
}


ngx_uint_t
ngx_wsgi_is_closing(ngx_http_request_t *r)
{
#if (NGX_HTTP_V2)

    if (r->stream && r->stream->connection->connection->close) {
        return 1;
    }

#endif

    return r->connection->close;
}


void
ngx_wsgi_disinherit(ngx_http_request_t *sr)
{
    ngx_http_headers_in_t  *in;

    in = &sr->headers_in;

    in->content_length = NULL;
    in->content_length_n = -1;
    in->content_range = NULL;
    in->content_type = NULL;
    in->transfer_encoding = NULL;
    in->chunked = 0;
    in->expect = NULL;
    in->te = NULL;
    in->upgrade = NULL;

    in->if_modified_since = NULL;
    in->if_unmodified_since = NULL;
    in->if_match = NULL;
    in->if_none_match = NULL;
    in->if_range = NULL;
    in->range = NULL;

#if (NGX_HTTP_GZIP || NGX_HTTP_HEADERS)
    in->accept_encoding = NULL;
#endif
}


ngx_uint_t
ngx_wsgi_is_from_upstream(const ngx_http_request_t *r)
{
    return r->upstream && r->upstream->header_sent;
}
