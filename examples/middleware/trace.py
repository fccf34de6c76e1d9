"""Two middleware that leave their names: in environ on the way in, in a header on the way out."""


def tracer(name):
    """The callable that `wsgi_middleware` names. It gets an application and returns another one."""
    def middleware(app):
        def traced(environ, start_response):
            environ.setdefault("example.trace", []).append(name)

            def start(status, headers, exc_info=None):
                return start_response(status, [*headers, ("X-Passed", name)], exc_info)

            return app(environ, start)
        return traced
    return middleware


outer = tracer("outer")
inner = tracer("inner")
