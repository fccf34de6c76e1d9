"""An asyncio event loop that nginx's event loop drives.

Nothing here waits. nginx waits for the descriptors and for the time, together with its own, and calls when something
has happened; then the loop takes a *turn*: it runs what is due and gives way to nginx again. `ngx_wsgi.asyncio.get_loop`
makes the one loop of an interpreter and a worker, which lives as long as the worker.
"""

import asyncio
import functools
import math
import os
import selectors
import threading
import time

from ngx_wsgi import native

# So often a turn goes through what is ready before nginx and everybody else's events have theirs.
ITERATIONS = 16


class Selector(selectors.PollSelector):
    """Stands where asyncio waits, and ends the loop's turn instead: nginx watches the descriptors.

    turn: called by nginx when there is something to do.  pause: lets the turn end after the present iteration.
    While `is_polling`, somebody else runs the loop and nginx cannot: then select() does wait.
    """

    def __init__(self, turn, pause):
        super().__init__()
        self._turn = turn
        self._pause = pause
        # Whether select() will not be called again unless somebody wakes the loop.
        self.is_asleep = True
        self.is_polling = False
        self._is_woken = False
        self._left = 0
        self._watches = {}
        self._fired = {}
        self._alarm = _Alarm(self.wake)

    def wake(self):
        """Has nginx call for a turn soon. From any thread."""
        if not self._is_woken:
            self._is_woken = True
            native.post(self._turn)

    def begin(self):
        """A turn begins."""
        self._is_woken = self.is_asleep = False
        self._left = ITERATIONS

    def end(self):
        """It has ended, perhaps before everything was done."""
        if not self.is_asleep:
            self.is_asleep = True
            self.wake()

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
        self._left -= 1
        if timeout is not None and timeout <= 0 or self._fired:
            if self._left <= 0:
                self._pause()
            return self._collect()
        # From here on, whoever adds something has to wake the loop.
        self.is_asleep = True
        self._alarm.set(timeout)
        self._pause()
        return []

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
            self._due = due
            self._timer = native.timer(math.ceil(seconds * 1000), self._ring)

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
    return (native.READ if events & selectors.EVENT_READ else 0) | (native.WRITE if events & selectors.EVENT_WRITE else 0)


def _events(flags):
    """nginx's flags in the words of `selectors`."""
    return (selectors.EVENT_READ if flags & native.READ else 0) | (selectors.EVENT_WRITE if flags & native.WRITE else 0)


class Loop(asyncio.SelectorEventLoop):
    """asyncio's own loop for selectors, which runs whenever nginx has something for it, and not in between.

    Between its turns is_running() is False, and what is added then (call_soon, create_task, add_reader) wakes it.
    stop() ends a turn; the next one follows. Raises RuntimeError where nginx's event loop is not.
    """

    def __init__(self):
        self._nginx = Selector(self._turn, super().stop)
        self._thread = threading.get_ident()
        super().__init__(self._nginx)
        # Python in a worker looks at no environment variables by itself.
        self.set_debug(bool(os.environ.get("PYTHONASYNCIODEBUG")))

    def is_here(self):
        """Whether the calling thread is the loop's, nginx's that is."""
        return threading.get_ident() == self._thread

    def _turn(self):
        """Runs what is due. Called by nginx."""
        if self.is_closed():
            return
        self._nginx.begin()
        try:
            super().run_forever()
        finally:
            self._nginx.end()

    def run_forever(self):
        """Runs until stop() is called, and holds nginx up meanwhile: it never has to be called in a request.

        At the end of a worker, and for an application that insists, `run_until_complete` for instance.
        """
        if not self.is_here():
            raise RuntimeError("this loop belongs to nginx's thread; another thread uses asyncio.run()")
        before, self._nginx.is_polling = self._nginx.is_polling, True
        self._nginx.is_asleep = False
        try:
            super().run_forever()
        finally:
            self._nginx.is_polling = before
            self._nginx.end()

    def call_soon(self, callback, *args, context=None):
        return self._woken_for(super().call_soon(callback, *args, context=context))

    def call_at(self, when, callback, *args, context=None):
        return self._woken_for(super().call_at(when, callback, *args, context=context))

    def _woken_for(self, handle):
        if self._nginx.is_asleep:
            # asyncio itself looks only while it runs, which this loop mostly does not.
            if self.get_debug() and not self.is_here():
                raise RuntimeError("this loop belongs to nginx's thread; another thread uses call_soon_threadsafe()")
            self._nginx.wake()
        return handle
