"""`make faults`: every call of every function that a request makes fails once, in nginx and in the module.

Not part of the usual run, for its minutes. See README.md in the folder above.
"""

import pytest

from harness.faults import STEPS, Faulty, inject

# What fails, in whose hands. Not write(): nginx's go to its logs, which would be silent then, and the module's to
# eventfds, which have no such error.
KINDS = [("memory", "nginx"), ("memory", "module"), ("python", "module"), ("writev", "nginx"), ("sendfile", "nginx"),
         ("open", "nginx"), ("epoll_ctl", "nginx"), ("pread", "nginx"), ("pread", "module"), ("pwrite", "nginx"),
         ("pwrite", "module"), ("recv", "nginx"), ("accept4", "nginx"), ("fcntl", "module")]
# What hardly a request needs, if any.
SELDOM = [("read", "module"), ("open", "module"), ("eventfd", "module"), ("epoll_ctl", "module"),
          ("pthread_create", "module"), ("mmap", "module"), ("pipe", "module"), ("send", "nginx"), ("mmap", "nginx")]


def known(fault, step):
    """What is not asked for, because nginx itself does no better."""
    # A write that fails while a stream has its turn: nginx waits for the client, as with a file of its own.
    return fault in ("writev", "sendfile") and step == "http2-spill"


@pytest.mark.parametrize("fault, caller, step", [
    pytest.param(fault, caller, step, id=f"{fault}-{caller}-{step}")
    for fault, caller in KINDS for step in STEPS if not known(fault, step)])
def test_every_call(nginx, fault, caller, step):
    faulty = Faulty(nginx, http=f"wsgi_enable_subinterpreters on; sendfile {'on' if fault == 'sendfile' else 'off'};",
                    allow=["."])
    faulty.warm_up(STEPS[step])
    # Rust ends the process when it gets no memory: a new worker for each of them. Three requests say how it goes on
    # after small ones.
    few = ("list", "threads-list", "asyncio")
    least = 4096 if (fault, caller) == ("memory", "module") and step not in few else 0
    counted = inject(faulty, STEPS[step], fault, (caller,), least=least)
    print(f"{fault} of {caller}, {step}: {counted}")


@pytest.mark.parametrize("fault, caller", SELDOM, ids=[f"{fault}-{caller}" for fault, caller in SELDOM])
def test_seldom(nginx, fault, caller):
    faulty = Faulty(nginx, http="wsgi_enable_subinterpreters on;", allow=["."])
    faulty.warm_up(*STEPS.values())
    counted = {name: inject(faulty, step, fault, (caller,)) for name, step in STEPS.items()}
    print(f"{fault} of {caller}: { {name: what for name, what in counted.items() if what} }")


@pytest.mark.parametrize("fault, first, factor", [
    # So many that a selection of them has to do.
    ("memory", 1, 1.5), ("python", 1, 2),
    ("open", 1, 1), ("eventfd", 1, 1), ("epoll_ctl", 1, 1), ("pthread_create", 1, 1), ("mmap", 1, 1), ("fcntl", 1, 1),
    ("pipe", 1, 1), ("read", 1, 1), ("pread", 1, 1)])
def test_reload(nginx, fault, first, factor):
    """While a worker starts: what cannot start says so and answers 500; after the next reload all is well.

    Only the module's own calls: without what nginx asks for at its start a worker of any nginx ends. A call into
    CPython that finds no memory there may end in a fatal error, and in a new worker.
    """
    faulty = Faulty(nginx, http="wsgi_enable_subinterpreters on;", allow=["."])
    server, places = faulty.server, ("/list", "/interpreter/list", "/threads/list", "/async/")
    faulty.warm_up()
    counted, at = {}, first
    while True:
        since = server.log_size()
        faulty.arm(fault, at, ("module",), pid=0)
        server.hup()
        said = [server.get(place).status for place in places]
        hit = faulty.disarm()
        assert hit or said == [200] * len(places)
        if not hit:
            break
        assert set(said) <= {200, 500}, (said, faulty.place(), server.tail())
        # Where nothing is missing afterwards it need not say so.
        assert said == [200] * len(places) or server.log_lines(r"\[(error|crit|alert|emerg)\]", since), faulty.place()
        counted[str(said)] = counted.get(str(said), 0) + 1
        server.hup()
        assert [server.get(place).status for place in places] == [200] * len(places)
        at = max(at + 1, int(at * factor))
    print(f"{fault} of module, reload: {counted}")
