"""asyncio on nginx's event loop, for applications without wsgi_threads."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Coroutine, Generator, Iterable
from types import TracebackType
from typing import Any, Callable, Optional, Protocol, TypeVar, Union

_T = TypeVar("_T")
_Environ = dict[str, Any]
_Headers = list[tuple[str, str]]
_ExcInfo = Union[tuple[type[BaseException], BaseException, TracebackType], tuple[None, None, None]]
_Body = Union[bytes, Iterable[bytes], AsyncIterable[bytes]]

class _StartResponse(Protocol):
    def __call__(
        self, status: str, headers: _Headers, exc_info: Optional[_ExcInfo] = ..., /
    ) -> Callable[[bytes], object]: ...

class Loop(asyncio.SelectorEventLoop):
    """asyncio's event loop, run by nginx's. get_loop() gives the one of this worker."""

def get_loop() -> Loop:
    """The loop of this interpreter and worker. It lives as long as the worker does, and always runs.

    RuntimeError: in another thread than nginx's (asyncio.run() is for those), and where there is no event loop.
    """

def wait(environ: _Environ, awaitable: Awaitable[_T]) -> Generator[bytes, None, _T]:
    """For applications that are generators: `result = yield from wait(environ, awaitable)`.

    Raises what the awaitable raises. When the request ends before, the task is cancelled.
    """

def respond(
    environ: _Environ,
    start_response: _StartResponse,
    coroutine: Union[
        Coroutine[Any, Any, Union[_Body, tuple[str, _Headers, _Body]]],
        AsyncIterable[bytes],
    ],
) -> Iterable[bytes]:
    """What an application returns that leaves its work to a coroutine.

    The coroutine gives the body, if it has called start_response itself, or (status, headers, body). An asynchronous
    generator calls start_response before its first block, and streams. When the client leaves, it is cancelled.
    """
