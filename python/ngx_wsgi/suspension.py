"""What the environ of an application on nginx's own thread offers to let it wait without holding up the event loop.

The functions are the same objects for all requests: they concern the request whose application runs. Each asks for a
suspension, which begins with the next empty item that the application yields. Sources: wsgi.pause_output (P.J. Eby,
2004), x-wsgiorg.fdevent (C. Stawarz, 2008), x-wsgiorg.suspend and the ngx.* keys (M. Perillo, 2008 and 2010).
"""

import functools
import math

from ngx_wsgi import native
from ngx_wsgi.subrequest import subrequest, variable

WSGI_POLLIN = native.READ
WSGI_POLLOUT = native.WRITE


class _HasTimedOut:
    """True in an application that goes on because the time of its last suspension was over, false in any other."""

    __slots__ = ()

    def __bool__(self):
        return native.request().timed_out()

    def __repr__(self):
        return "<whether the last suspension has timed out>"


def pause_output():
    """Suspends until the function that is returned is called, in whatever thread."""
    return native.request().suspend(None)


def suspend(timeout_ms=None, /):
    """Suspends until resume() is called, or for so many milliseconds.

    Returns resume() -> bool: True if it is this call that lets the application go on. In any thread.
    Raises TypeError, ValueError for a time that is none; RuntimeError outside of the application.
    """
    return native.request().suspend(timeout_ms)


def readable(fd, timeout=None, /):
    """Suspends until bytes can be read from a descriptor (int, or with fileno()), or for so many seconds (float).

    Returns b"", to be yielded. Raises OSError if the descriptor cannot be waited for, RuntimeError outside of the
    application.
    """
    return _wait(fd, native.READ, timeout)


def writable(fd, timeout=None, /):
    """The same until bytes can be written."""
    return _wait(fd, native.WRITE, timeout)


def _wait(fd, flags, timeout):
    milliseconds = None if timeout is None else _milliseconds(timeout)
    resume = _watch([(_number(fd), flags, lambda fired: resume())], milliseconds)
    return b""


def _watch(wanted, milliseconds):
    """Asks for a suspension that watches descriptors; wanted: what native.watch() takes, for each. All of it or nothing."""
    request = native.request()
    watches = []
    try:
        for fd, flags, callback in wanted:
            watches.append(native.watch(fd, flags, callback))
        resume = request.suspend(milliseconds)
    except BaseException:
        for watch in watches:
            watch.cancel()
        raise
    request.attach(*watches)
    return resume


def _milliseconds(seconds):
    if not seconds >= 0:
        raise ValueError(f"{seconds!r} is no number of seconds to wait")
    # wsgi_suspend_timeout comes earlier than that.
    return math.ceil(min(seconds, 1e6) * 1000)


def _number(fd):
    """The number of a descriptor; as select.select() takes it."""
    number = fd if isinstance(fd, int) else getattr(fd, "fileno", lambda: None)()
    if not isinstance(number, int):
        raise TypeError(f"a descriptor is an int, or has a fileno() method that returns one, not {type(fd).__name__}")
    if number < 0:
        raise ValueError(f"{number} is no descriptor")
    return number


def flush():
    """Sends the head now, if it has not been sent, and what is held back.

    Raises RuntimeError before start_response() and outside of the application.
    """
    native.request().flush()


class Connection:
    """A descriptor to be polled."""

    __slots__ = ("_fd",)

    def __init__(self, fd):
        self._fd = _number(fd)

    def fileno(self):
        return self._fd

    def __repr__(self):
        return f"<connection of descriptor {self._fd}>"


def _registered():
    """The connections that the request has registered, with their flags."""
    return native.request().store().setdefault("ngx.poll", {})


def poll_register(connection, flags=WSGI_POLLIN | WSGI_POLLOUT, /):
    """Has poll() look at a connection, until it is unregistered; registered again, for other flags.

    Raises TypeError, ValueError for anything but a connection_wrapper() and flags of WSGI_POLLIN and WSGI_POLLOUT.
    """
    if not isinstance(connection, Connection):
        raise TypeError(f"poll_register() takes what ngx.connection_wrapper() returns, not {type(connection).__name__}")
    if not isinstance(flags, int) or not 0 < flags <= WSGI_POLLIN | WSGI_POLLOUT or flags & ~(WSGI_POLLIN | WSGI_POLLOUT):
        raise ValueError(f"flags are WSGI_POLLIN (1), WSGI_POLLOUT (4) or both, not {flags!r}")
    _registered()[connection] = flags


def poll_unregister(connection, /):
    """Takes poll_register() back. Raises RuntimeError if it is not registered."""
    if _registered().pop(connection, None) is None:
        raise RuntimeError(f"{connection!r} is not registered")


def poll(timeout_ms=None, /):
    """Suspends until one of the registered connections is ready, or for so many milliseconds.

    Returns a function which tells afterwards what happened: (connection, flags), or (None, 0) if the time was over.
    """
    fired = []

    def ready(connection, flags):
        fired.append((connection, flags))
        resume()

    wanted = [(connection.fileno(), flags, functools.partial(ready, connection)) for connection, flags in _registered().items()]
    resume = _watch(wanted, timeout_ms)
    return lambda: fired[0] if fired else (None, 0)


def sleep(milliseconds, /):
    """Suspends for so many milliseconds. Returns b"", to be yielded."""
    if milliseconds is None:
        raise TypeError("sleep() takes a number of milliseconds")
    native.request().suspend(milliseconds)
    return b""


_has_timed_out = _HasTimedOut()

ENVIRON = {
    "wsgi.pause_output": pause_output,
    "x-wsgiorg.suspend": suspend,
    "x-wsgiorg.suspend_status": _has_timed_out,
    "x-wsgiorg.fdevent.readable": readable,
    "x-wsgiorg.fdevent.writable": writable,
    "x-wsgiorg.fdevent.timeout": _has_timed_out,
    "x-wsgiorg.flush": flush,
    "ngx.WSGI_POLLIN": WSGI_POLLIN,
    "ngx.WSGI_POLLOUT": WSGI_POLLOUT,
    "ngx.connection_wrapper": Connection,
    "ngx.poll_register": poll_register,
    "ngx.poll_unregister": poll_unregister,
    "ngx.poll": poll,
    "ngx.sleep": sleep,
    "ngx.subrequest": subrequest,
    "ngx.variable": variable,
}
