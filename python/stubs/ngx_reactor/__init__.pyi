"""nginx's event loop for Python code: descriptors, timers, and calls from other threads.

Handlers are called by nginx's thread, between requests, in a copy of the contextvars context in which they were
registered. They must not block. An exception in one is logged with its traceback and hurts nobody else. All functions
but `post` belong to nginx's thread; from another one, and where there is no event loop, they raise RuntimeError.
"""

from typing import Any, Callable, Generic, Protocol, TypeVar, Union, final, overload

NGX_READ_EVENT: int
"""The descriptor can be read: 1."""
NGX_WRITE_EVENT: int
"""The descriptor can be written: 4. May be or-ed with NGX_READ_EVENT."""

_Arg = TypeVar("_Arg")

class _HasFileno(Protocol):
    def fileno(self) -> int: ...

_Fd = Union[int, _HasFileno]

@final
class Event(Generic[_Arg]):
    """A descriptor and its handler; made by create_event()."""

    @property
    def fd(self) -> int: ...
    @property
    def handler(self) -> Callable[[Event[_Arg]], object]: ...
    @property
    def active(self) -> int:
        """The flags that were added and not deleted."""

    @property
    def ready(self) -> int:
        """The flags that fired: what the handler is called for."""
    arg: _Arg
    def fileno(self) -> int: ...

@final
class Timer:
    """A call to come; made by add_timer()."""

@overload
def create_event(fd: _Fd, handler: Callable[[Event[None]], object]) -> Event[None]: ...
@overload
def create_event(fd: _Fd, handler: Callable[[Event[_Arg]], object], arg: _Arg) -> Event[_Arg]: ...
def add_event(event: Event[Any], flags: int = ...) -> None:
    """Calls the event's handler whenever its descriptor is ready, until del_event(). The caller keeps the descriptor
    open, and deletes the event before it is closed.

    OSError: the descriptor is closed (EBADF), "worker_connections" are not enough (ENOBUFS). PermissionError: a regular
    file, which is always ready and cannot be waited for.
    """

def del_event(event: Event[Any], flags: int = ...) -> None:
    """Takes flags back, all of them by default. RuntimeError: none of them was added."""

def add_timer(handler: Callable[[], object], msec: int) -> Timer:
    """Calls the handler once, after so many milliseconds. A worker that quits does not wait for it."""

def del_timer(timer: Timer) -> None:
    """Takes it back; does nothing if that has happened, or if it has fired."""

def post(handler: Callable[[], object]) -> None:
    """Calls the handler on nginx's thread, soon. May be called from any thread."""
