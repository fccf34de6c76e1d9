"""nginx's thread has no hold on Python while it waits for events, even if Python knows of no other thread."""

from harness.nginx import wait_for

# A thread of the C library's, which is not there before its time: nothing announces it to Python.
APP = """
import ctypes
import os

libc = ctypes.CDLL("librt.so.1")
CALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
SIGEV_THREAD = 2
kept = []


class Event(ctypes.Structure):
    _fields_ = [("value", ctypes.c_void_p), ("signo", ctypes.c_int), ("notify", ctypes.c_int), ("call", CALL),
                ("attributes", ctypes.c_void_p), ("rest", ctypes.c_char * 64)]


class Interval(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("every", "every_ns", "after", "after_ns")]


def application(environ, start_response):
    call = CALL(lambda value: open(os.path.dirname(__file__) + "/called", "w").close())
    event, timer = Event(notify=SIGEV_THREAD, call=call), ctypes.c_void_p()
    kept.append((call, event))
    assert libc.timer_create(1, ctypes.byref(event), ctypes.byref(timer)) == 0
    assert libc.timer_settime(timer, 0, ctypes.byref(Interval(after_ns=200_000_000)), None) == 0
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"set"]
"""


def test_a_thread_that_python_does_not_know(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP})
    assert server.get("/").body == b"set"
    wait_for((server.folder / "called").exists, "the thread to get the GIL")
