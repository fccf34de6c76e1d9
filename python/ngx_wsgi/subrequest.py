"""Subrequests and variables of nginx, for the environ of an application on nginx's own thread."""

from ngx_wsgi import native


class Response:
    """The response to a subrequest.

    status: int; headers: a list of pairs of str; body: bytes, decoded from chunks, and not compressed unless the server
    behind it does so unasked.
    """

    __slots__ = ("status", "headers", "body")

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def __repr__(self):
        return f"<response {self.status}, {len(self.body)} bytes>"


class Subrequest:
    """A subrequest that has been asked for; called, it gives the Response.

    Raises RuntimeError if it is called before the subrequest is done, OSError if there is no response.
    """

    __slots__ = ("_line", "_asked", "_response", "_failure")

    def __init__(self, line, asked):
        self._line = line
        self._asked = asked
        self._response = None
        self._failure = None

    def __call__(self):
        if self._response is None and self._failure is None:
            outcome = self._asked.take()
            if outcome is None:
                raise RuntimeError(f"the subrequest {self._line} is not done: yield b'' before it is called")
            if isinstance(outcome, str):
                self._failure = outcome
            else:
                self._response = Response(*outcome)
        if self._failure is not None:
            raise OSError(f"subrequest {self._line}: {self._failure}")
        return self._response

    def __repr__(self):
        return f"<subrequest {self._line}>"


def subrequest(uri, args="", method="GET"):
    """Has nginx request a URI of its own, from "/" on, and suspends until all subrequests asked for are done.

    The arguments are added to those that the URI has; both are quoted, and their characters are bytes, as in environ.
    Returns a function which gives the response afterwards, with status, headers and body.
    Raises ValueError for a URI, arguments or a method that nginx does not take; RuntimeError if this request cannot have
    subrequests, and outside of the application.
    """
    asked = native.request().subrequest(uri, args, method)
    return Subrequest(f'"{method} {uri}"', asked)


_UNSET = object()


def variable(name, value=_UNSET, /):
    """The value of a variable of nginx (str), None if it has none. With a value (str): sets it.

    Raises, when it sets, KeyError if there is no such variable, ValueError if it cannot be set, RuntimeError if the head
    of the response has been sent; RuntimeError outside of the application.
    """
    request = native.request()
    if value is _UNSET:
        return request.variable(name)
    request.set_variable(name, value)
    return None
