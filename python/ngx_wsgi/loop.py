"""An asyncio event loop that nginx's event loop drives.

Nothing here waits. nginx waits for the descriptors and for the time, together with its own, and calls when something
has happened; then the loop takes a *turn*: it runs what is due and gives way to nginx again. `ngx_wsgi.asyncio.get_loop`
makes the one loop of an interpreter and a worker, which lives as long as the worker.

A turn has two parts. asyncio's own iteration, for which it is run as anybody would run it, does what a selector and the
time have ready. The functions of call_soon(), which are most of what happens, wait in a queue of the module's. In debug
mode, and while somebody runs the loop by hand, there is no second part.
"""

import asyncio
import contextvars
import errno
import functools
import itertools
import math
import os
import selectors
import socket
import sys
import threading
import time

from ngx_wsgi import native

# So often asyncio iterates in a turn before nginx and everybody else's events have theirs.
ITERATIONS = 16

# Seconds that nginx's timer is set to at most, as with asyncio's selectors: times may be beyond what nginx can count.
LONGEST = 24 * 3600

# After so many timers asyncio iterates: then it throws away those that have been cancelled, once they are the majority.
# Otherwise it might not, until the first of them is due: what sets and cancels timers may all come from the queue.
TIMERS = 128


class Selector(selectors.PollSelector):
    """Stands where asyncio waits, and ends its iterations instead: nginx watches the descriptors.

    wake: has nginx call for a turn.  pause: has asyncio return after the present iteration.  earlier: does what has
    been asked for before a descriptor was ready.
    While `is_polling`, somebody else runs the loop and nginx cannot: then select() does wait.
    """

    def __init__(self, wake, pause, earlier):
        super().__init__()
        self._wake = wake
        self._pause = pause
        self._earlier = earlier
        # Whether asyncio's own iteration has anything to do.
        self.has_work = False
        self.is_polling = False
        self._left = 0
        self._watches = {}
        self._fired = {}
        self._alarm = _Alarm(self.wake)

    def wake(self):
        """Has asyncio's own iteration run soon. From any thread."""
        self.has_work = True
        if not self.is_polling:
            self._wake()

    def wake_in(self, seconds):
        """The same when so much time has passed."""
        self._alarm.set(seconds)

    def begin(self):
        """asyncio begins to iterate."""
        self._left = ITERATIONS

    def has(self, fd):
        """Whether asyncio has registered a descriptor."""
        return fd in self._watches

    def register(self, fileobj, events, data=None):
        key = super().register(fileobj, events, data)
        try:
            self._watch(key)
        except BaseException:
            super().unregister(fileobj)
            raise
        return key

    def modify(self, fileobj, events, data=None):
        key = super().modify(fileobj, events, data)
        try:
            self._watches[key.fd].set(_flags(events))
        except (KeyError, RuntimeError):
            # The descriptor was closed meanwhile, and is another file's by now.
            self._forget(key.fd)
            self._watch(key)
        return key

    def unregister(self, fileobj):
        key = super().unregister(fileobj)
        self._forget(key.fd)
        return key

    def close(self):
        for fd in list(self._watches):
            self._forget(fd)
        self._alarm.cancel()
        super().close()

    def _watch(self, key):
        self._watches[key.fd] = native.watch(key.fd, _flags(key.events), functools.partial(self._on_event, key.fd))

    def _forget(self, fd):
        watch = self._watches.pop(fd, None)
        if watch is not None:
            watch.cancel()
        self._fired.pop(fd, None)

    def _on_event(self, fd, flags):
        """nginx has seen something; no flags: that the descriptor has been closed, which asyncio need not know.

        It is kept until all events of nginx's own turn have been seen.
        """
        if flags:
            self._fired[fd] = self._fired.get(fd, 0) | _events(flags)
            self.wake()
        else:
            self._forget(fd)

    def select(self, timeout=None):
        if self.is_polling:
            self._fired.clear()  # seen again, if it is still so
            return super().select(timeout)
        self._earlier()
        self._left -= 1
        if timeout is None or timeout > 0:
            # What adds something from here on wakes the loop again.
            self.has_work = False
            self._alarm.set(timeout)
            self._pause()
        elif self._left <= 0:
            self._pause()
        return self._collect()

    def _collect(self):
        fired, self._fired = self._fired, {}
        found = [(self.get_key(fd), events) for fd, events in fired.items()]
        return [(key, events & key.events) for key, events in found if events & key.events]


class _Alarm:
    """nginx's timer for the next thing that is due."""

    def __init__(self, wake):
        self._wake = wake
        self._timer = None
        self._due = math.inf

    def set(self, seconds):
        """Wakes the loop after so many seconds at the latest; None: this is not needed."""
        due = math.inf if seconds is None else time.monotonic() + seconds
        # One that goes off too early does no harm, and most have been cancelled by then.
        if due < self._due:
            self.cancel()
            self._timer = native.timer(math.ceil(min(max(seconds, 0), LONGEST) * 1000), self._ring)
            self._due = due

    def cancel(self):
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._due = math.inf

    def _ring(self):
        self._timer = None
        self._due = math.inf
        self._wake()


def _flags(events):
    """Events of `selectors` in nginx's words."""
    return (events & selectors.EVENT_READ and native.READ) | (events & selectors.EVENT_WRITE and native.WRITE)


def _events(flags):
    """nginx's flags in the words of `selectors`."""
    return (flags & native.READ and selectors.EVENT_READ) | (flags & native.WRITE and selectors.EVENT_WRITE)


def _number(fd):
    """The number of a descriptor, which may be an object with fileno(); refused as by `selectors`."""
    try:
        number = fd if isinstance(fd, int) else int(fd.fileno())
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"Invalid file object: {fd!r}") from None
    if number < 0:
        raise ValueError(f"Invalid file descriptor: {number}")
    return number


def _probe():
    """Raises what would leave a loop half made: RuntimeError, OSError if nginx or the process has nothing left."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        native.watch(ours.fileno(), native.READ, int).cancel()


def _made_by_caller(handle):
    """In debug mode a handle tells where it was made. That is not in this file."""
    trace = getattr(handle, "_source_traceback", None)
    if trace:
        del trace[-1]
    return handle


class _Reader:
    """A function that is called as long as a descriptor is ready in one direction."""

    __slots__ = ("file", "callback", "args", "watch", "handle")

    def __init__(self, file, callback, args):
        self.file = file
        self.callback = callback
        self.args = args
        self.watch = self.handle = None

    def cancel(self):
        self.watch.cancel()
        if self.handle is not None:
            self.handle.cancel()


class Loop(asyncio.SelectorEventLoop):
    """asyncio's own loop for selectors, which runs whenever nginx has something for it, and not in between.

    Between its turns is_running() is False, and what is added then (call_soon, create_task, add_reader) wakes it.
    stop() ends a turn at most; the next one follows. Raises RuntimeError where nginx's event loop is not.
    """

    def __init__(self):
        _probe()
        # asyncio's transports have 256 KiB for whatever they read. When something larger has been freed, glibc keeps
        # such memory, instead of getting it from the kernel and giving it back at each read.
        bytes(1 << 20)
        self._queue = native.queue()
        self._timers = itertools.count(1)
        self._nginx = Selector(self._queue.wake, super().stop, lambda: self._queue.run(self._failed, False))
        self._thread = threading.get_ident()
        self._readers = {}
        self._hooks = None
        self._is_in_turn = False
        super().__init__(self._nginx)
        # asyncio tells its hooks for asynchronous generators to whoever asks while it runs.
        super().call_soon(self._learn_hooks)
        self._nginx.wake()
        # Python in a worker looks at no environment variables by itself.
        self.set_debug(bool(os.environ.get("PYTHONASYNCIODEBUG")))

    def is_here(self):
        """Whether the calling thread is the loop's, nginx's that is."""
        return threading.get_ident() == self._thread

    def is_running(self):
        return self._is_in_turn or super().is_running()

    def set_debug(self, enabled):
        super().set_debug(enabled)
        self._choose()

    def close(self):
        super().close()
        for fd, flag in list(self._readers):
            self._remove(flag, fd)
        self._choose()

    def stop(self):
        # A turn ends by itself; asyncio would keep this for the next one who runs the loop by hand.
        if not self._is_in_turn:
            super().stop()

    def _learn_hooks(self):
        self._hooks = sys.get_asyncgen_hooks()

    # -- turns --------------------------------------------------------------------------------------------------------

    def _turn(self):
        """Runs what is due. Called by nginx."""
        if self.is_closed():
            return
        try:
            if self._nginx.has_work:
                self._nginx.begin()
                super().run_forever()
            self._run_queue()
        finally:
            self._queue.sleep()
            if self._nginx.has_work:
                self._queue.wake()

    def _run_queue(self):
        before = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(*self._hooks)
        asyncio._set_running_loop(self)
        self._is_in_turn = True
        try:
            self._queue.run(self._failed, False)
        finally:
            self._is_in_turn = False
            asyncio._set_running_loop(None)
            sys.set_asyncgen_hooks(*before)

    def _run_all(self):
        """Runs the queue while asyncio itself runs."""
        try:
            self._queue.run(self._failed, True)
        finally:
            self._queue.sleep()

    def _failed(self, handle, exception, function):
        """A function from the queue has raised."""
        if isinstance(exception, (SystemExit, KeyboardInterrupt)):
            raise exception
        message = f"Exception in callback {function!r}"
        self.call_exception_handler({"message": message, "exception": exception, "handle": handle})

    def run_forever(self):
        """Runs until stop() is called, and holds nginx up meanwhile: it never has to be called in a request.

        At the end of a worker, and for an application that insists, `run_until_complete` for instance.
        """
        if not self.is_here():
            raise RuntimeError("this loop belongs to nginx's thread; another thread uses asyncio.run()")
        before, self._nginx.is_polling = self._nginx.is_polling, True
        try:
            self._choose()
            self._give_readers()
            # Tasks are not part of the request whose application does this.
            native.outside(super().run_forever)
        finally:
            self._nginx.is_polling = before
            self._choose()
            if not self.is_closed():
                self._nginx.wake()

    def _give_readers(self):
        """Gives the descriptors of applications into asyncio's hands."""
        for (fd, flag), reader in list(self._readers.items()):
            file = reader.file
            self._remove(flag, fd)
            add = self.add_reader if flag == native.READ else self.add_writer
            try:
                add(file, reader.callback, *reader.args)
            except (OSError, RuntimeError, ValueError) as error:
                # One that has been closed is nobody's loss; a transport may have its number.
                if getattr(error, "errno", errno.EBADF) != errno.EBADF:
                    self.call_exception_handler({"message": f"{file!r} is not watched any more", "exception": error})

    # -- functions to be called ---------------------------------------------------------------------------------------

    def _choose(self):
        """Chooses where call_soon() puts its functions: the queue, unless asyncio itself has to see them.

        And what calls for those in the queue: nginx, unless it is held up.
        """
        is_polling, is_closed = self._nginx.is_polling, self.is_closed()
        self._is_direct = not (is_polling or self.get_debug() or is_closed)
        if self._is_direct:
            # In the place of the method below, so that nothing is between asyncio and the queue.
            self.call_soon = self._queue.call_soon
        else:
            self.__dict__.pop("call_soon", None)
        if is_closed:
            self._queue.bell(None, False)
        elif is_polling:
            self._queue.bell(functools.partial(super().call_soon_threadsafe, self._run_all), False)
        else:
            self._queue.bell(self._turn, True)

    def call_soon(self, callback, *args, context=None):
        if self.get_debug() and not self.is_here():
            # asyncio itself looks only while it runs, which this loop mostly does not.
            raise RuntimeError("this loop belongs to nginx's thread; another thread uses call_soon_threadsafe()")
        handle = super().call_soon(callback, *args, context=context)
        self._nginx.wake()
        return _made_by_caller(handle)

    def call_soon_threadsafe(self, callback, *args, context=None):
        if self._is_direct:
            return self._queue.call_soon(callback, *args, context=context)
        return _made_by_caller(super().call_soon_threadsafe(callback, *args, context=context))

    def call_at(self, when, callback, *args, context=None):
        handle = super().call_at(when, callback, *args, context=context)
        if not self._nginx.is_polling:
            self._nginx.wake_in(max(0, when - self.time()))
            if not next(self._timers) % TIMERS:
                self._nginx.wake()
        return _made_by_caller(handle)

    # -- descriptors of applications; those of transports are with the selector ---------------------------------------

    def add_reader(self, fd, callback, *args):
        if not self._add(native.READ, fd, callback, args):
            super().add_reader(fd, callback, *args)

    def add_writer(self, fd, callback, *args):
        if not self._add(native.WRITE, fd, callback, args):
            super().add_writer(fd, callback, *args)

    def remove_reader(self, fd):
        return self._remove(native.READ, fd) or super().remove_reader(fd)

    def remove_writer(self, fd):
        return self._remove(native.WRITE, fd) or super().remove_writer(fd)

    def _add(self, flag, file, callback, args):
        """False if asyncio is to see to it: it may have a transport there, which it would tell."""
        fd = _number(file)
        self._remove(flag, fd)
        if not self._is_direct or self._nginx.has(fd):
            return False
        reader = _Reader(file, callback, args)
        on_ready = functools.partial(self._on_ready, (fd, flag), reader, contextvars.copy_context())
        reader.watch = native.watch(fd, flag, on_ready)
        self._readers[fd, flag] = reader
        return True

    def _remove(self, flag, file):
        """False if asyncio has it, or nobody."""
        try:
            fd = _number(file)
        except ValueError:
            # Closed, it has no number any more; as with `selectors` it is found all the same.
            found = (fd for (fd, _), reader in self._readers.items() if reader.file is file)
            fd = next(found, None)
        reader = self._readers.pop((fd, flag), None)
        if reader is not None:
            reader.cancel()
        return reader is not None

    def _on_ready(self, key, reader, context, flags):
        if not flags:
            # The descriptor has been closed.
            if self._readers.get(key) is reader:
                del self._readers[key]
        elif reader.handle is None or not reader.handle.is_pending():
            reader.handle = self._queue.call_soon(reader.callback, *reader.args, context=context)
