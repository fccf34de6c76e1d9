"""nginx's event loop: descriptors, timers, and functions to be called soon.

Exists in the workers of nginx mod_wsgi. Handlers run on nginx's own thread, each in a copy of the contextvars context in
which it was given, and must not block. An exception in one is logged with its traceback and hurts nobody else.

post() may be called in any thread, everything else on nginx's only: RuntimeError elsewhere. An application runs there in
locations without wsgi_threads; so does the import of its modules.
"""

import contextvars
import types

try:
    from ngx_wsgi import native
except ImportError:
    raise ImportError("ngx_reactor exists only inside an nginx worker that runs mod_wsgi") from None

__all__ = ["NGX_READ_EVENT", "NGX_WRITE_EVENT", "Event", "Timer", "add_event", "add_timer", "create_event", "del_event",
           "del_timer", "post"]

NGX_READ_EVENT = native.READ
NGX_WRITE_EVENT = native.WRITE

Timer = native.Timer


class Event:
    """A descriptor that can be waited for; made by create_event().

    fd: its number.  handler, arg: as given to create_event().  active: the flags it is waited for with, 0 at first.
    ready: the flags for which the handler is called.
    """

    __slots__ = ("fd", "handler", "arg", "active", "ready", "_context", "_watch", "__weakref__")

    def __init__(self, fd, handler, arg=None):
        if not callable(handler):
            raise TypeError(f"a handler must be callable, not {type(handler).__name__}")
        self.fd = fd if isinstance(fd, int) else fd.fileno()
        self.handler = handler
        self.arg = arg
        self.active = self.ready = 0
        self._context = contextvars.copy_context()
        self._watch = None

    # The type of arg, for annotations.
    __class_getitem__ = classmethod(types.GenericAlias)

    def fileno(self):
        return self.fd

    def __repr__(self):
        return f"<event of descriptor {self.fd}, active {self.active}>"

    def _fired(self, flags):
        if not flags:
            # The descriptor has been closed, so nothing will come any more.
            self.active, self._watch = 0, None
            return
        self.ready = flags
        self._context.run(self.handler, self)


def create_event(fd, handler, arg=None):
    """An event for a descriptor (int, or an object with fileno()). handler(event) is called whenever it is ready and
    waited for; arg is event.arg."""
    return Event(fd, handler, arg)


def add_event(event, flags=NGX_READ_EVENT):
    """Waits for NGX_READ_EVENT, NGX_WRITE_EVENT or both, besides what the event is waited for with already.

    The handler is called again and again for as long as the descriptor is ready, until del_event(). One whose other end has
    been closed is ready. Takes one of nginx's worker_connections and a descriptor.

    Raises OSError if it cannot be waited for: a regular file, a closed descriptor, no worker_connections left.
    """
    active = event.active | flags
    if event._watch is None:
        event._watch = native.watch(event.fd, active, event._fired)
    else:
        event._watch.set(active)
    event.active = active


def del_event(event, flags=NGX_READ_EVENT | NGX_WRITE_EVENT):
    """Waits for these flags no longer. Raises RuntimeError if none of them was waited for."""
    if not event.active & flags:
        raise RuntimeError(f"{event!r} has not been added")
    left = event.active & ~flags
    try:
        event._watch.set(left)
    except RuntimeError:
        # The descriptor has been closed, so nothing is left to wait for.
        event._watch.cancel()
        left = 0
    event.active = left
    if not left:
        event._watch = None


def add_timer(handler, msec):
    """Has handler() called once, in so many milliseconds. Returns what del_timer() takes.

    A worker that quits gracefully does not wait for it. Raises ValueError for a negative time.
    """
    if not callable(handler):
        raise TypeError(f"a handler must be callable, not {type(handler).__name__}")
    context = contextvars.copy_context()
    return native.timer(msec, lambda: context.run(handler))


def del_timer(timer):
    """The handler is not called any more. May be called again."""
    timer.cancel()


def post(handler):
    """Has handler() called soon on nginx's thread; in any thread. Not from inside of this call."""
    if not callable(handler):
        raise TypeError(f"a handler must be callable, not {type(handler).__name__}")
    context = contextvars.copy_context()
    native.post(lambda: context.run(handler))
