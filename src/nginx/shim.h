/*
 * The C shim: what bindgen cannot translate, that is macros, inline functions and the places where
 * nginx's structures differ between versions in a way that is simpler said in C.  build.rs compiles
 * it against the very headers of the nginx in use and binds `ngx_wsgi_*` and `NGX_WSGI_*` for Rust.
 */

#ifndef NGX_WSGI_SHIM_H_INCLUDED
#define NGX_WSGI_SHIM_H_INCLUDED

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#if (nginx_version < 1022000)
#error nginx 1.22.0 or newer is required
#endif


/*
 * Sizes of the structures that Rust reads.  Three parties must agree: nginx-sys (whose generated
 * layout tests are off), clang (evaluates the enum below for bindgen) and the C compiler that
 * nginx and this shim are built with.  build.rs and shim.c compare them at compile time.
 */

#define NGX_WSGI_STRUCTURES(_)                                                                     \
    _(ngx_buf_t)                                                                                   \
    _(ngx_chain_t)                                                                                 \
    _(ngx_command_t)                                                                               \
    _(ngx_conf_t)                                                                                  \
    _(ngx_connection_t)                                                                            \
    _(ngx_cycle_t)                                                                                 \
    _(ngx_event_t)                                                                                 \
    _(ngx_file_t)                                                                                  \
    _(ngx_http_complex_value_t)                                                                    \
    _(ngx_http_core_loc_conf_t)                                                                    \
    _(ngx_http_core_main_conf_t)                                                                   \
    _(ngx_http_core_srv_conf_t)                                                                    \
    _(ngx_http_headers_in_t)                                                                       \
    _(ngx_http_headers_out_t)                                                                      \
    _(ngx_http_request_body_t)                                                                     \
    _(ngx_http_request_t)                                                                          \
    _(ngx_http_variable_t)                                                                         \
    _(ngx_http_variable_value_t)                                                                   \
    _(ngx_listening_t)                                                                             \
    _(ngx_log_t)                                                                                   \
    _(ngx_module_t)                                                                                \
    _(ngx_path_t)                                                                                  \
    _(ngx_pool_t)                                                                                  \
    _(ngx_table_elt_t)                                                                             \
    _(ngx_temp_file_t)

enum ngx_wsgi_sizeof {
#define NGX_WSGI_SIZEOF(type) NGX_WSGI_SIZEOF_##type = sizeof(type),
    NGX_WSGI_STRUCTURES(NGX_WSGI_SIZEOF)
#undef NGX_WSGI_SIZEOF
};


/* Bits of c->buffered that say that the socket, and nothing else, holds data back. */
#if (NGX_SSL)
enum { NGX_WSGI_SSL_BUFFERED = NGX_SSL_BUFFERED };
#else
enum { NGX_WSGI_SSL_BUFFERED = 0 };
#endif
#if (NGX_HTTP_V2)
enum { NGX_WSGI_V2_BUFFERED = NGX_HTTP_V2_BUFFERED };
#else
enum { NGX_WSGI_V2_BUFFERED = 0 };
#endif


/* The longest text of an address, as ngx_inet.h computes it. */
enum { NGX_WSGI_SOCKADDR_STRLEN = NGX_SOCKADDR_STRLEN };


/*
 * Makes `h` the response's Cache-Control, which must be in headers_out.headers already: nginx keeps
 * a second reference for its expires, gzip and cache logic.  NGX_ERROR when memory runs out.
 */
ngx_int_t ngx_wsgi_set_cache_control(ngx_http_request_t *r, ngx_table_elt_t *h);


/*
 * A listening socket of this worker: whether the worker shares it with others (it does not with "reuseport"),
 * and its read event switched on and off.  On with the flags that nginx itself has used at the start.
 */
ngx_uint_t ngx_wsgi_listening_is_shared(const ngx_listening_t *ls);
ngx_int_t ngx_wsgi_listening_start(ngx_event_t *rev);
ngx_int_t ngx_wsgi_listening_stop(ngx_event_t *rev);

/*
 * Whether nginx is to report that bytes can be read from a connection's descriptor, or written to it: always
 * while it is so, and not only when it becomes so.
 */
ngx_int_t ngx_wsgi_report(ngx_connection_t *c, ngx_uint_t write, ngx_uint_t on);


/*
 * Bit-fields of a request: ngx_wsgi_request_<field>(r) and ngx_wsgi_request_set_<field>(r, value).
 * Since nginx 1.29.3 they follow a 16-bit member, and bindgen 0.72 then computes wrong places for most
 * of them, without a word and with the right size of the whole.  Rust must not use its own accessors.
 */
#define NGX_WSGI_REQUEST_BITS(_)                                                                   \
    _(aio)                                                                                         \
    _(allow_ranges)                                                                                \
    _(background)                                                                                  \
    _(buffered)                                                                                    \
    _(disable_not_modified)                                                                        \
    _(header_only)                                                                                 \
    _(http_state)                                                                                  \
    _(keepalive)                                                                                   \
    _(limit_rate_set)                                                                              \
    _(main_filter_need_in_memory)                                                                  \
    _(post_action)                                                                                 \
    _(reading_body)                                                                                \
    _(request_body_no_buffering)                                                                   \
    _(single_range)                                                                                \
    _(subrequest_in_memory)                                                                        \
    _(subrequests)

#define NGX_WSGI_REQUEST_BIT(field)                                                                \
    ngx_uint_t ngx_wsgi_request_##field(const ngx_http_request_t *r);                              \
    void ngx_wsgi_request_set_##field(ngx_http_request_t *r, ngx_uint_t value);
NGX_WSGI_REQUEST_BITS(NGX_WSGI_REQUEST_BIT)
#undef NGX_WSGI_REQUEST_BIT


/*
 * Takes a reference to the request, which ngx_http_finalize_request() gives back.
 */
void ngx_wsgi_request_hold(ngx_http_request_t *r);


/*
 * Whether auth_basic has checked the user of `r`.  That nginx knows a user name says nothing: it takes
 * it from the Authorization header whenever somebody evaluates $remote_user.
 */
ngx_uint_t ngx_wsgi_is_user_checked(ngx_http_request_t *r);


/*
 * Whether nginx closes the connection of `r` by itself, because a worker that quits is out of time.
 */
ngx_uint_t ngx_wsgi_is_closing(ngx_http_request_t *r);


/*
 * Empties the fields in which nginx keeps those headers of a request that a subrequest does not inherit:
 * what they say is about the client's body, or about what the client has of the response already.  The
 * list of headers stays as it is.
 */
void ngx_wsgi_disinherit(ngx_http_request_t *sr);


/*
 * Whether an upstream server has begun the response of `r`.
 */
ngx_uint_t ngx_wsgi_is_from_upstream(const ngx_http_request_t *r);


#endif /* NGX_WSGI_SHIM_H_INCLUDED */
