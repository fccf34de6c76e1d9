"""wsgi_preflight: the child that imports: whose it is, what it sees, what it leaves, and when it is ended."""

import os
import re
import subprocess
import time

import pytest

from harness.apps import PRELUDE, notes
from harness.conf import accepts
from harness.nginx import alive, open_fds, rss, wait_for
from harness.preflight import complaints, line_of
from test_loading_failures import nobody_has_python

pytestmark = pytest.mark.once

HTTP = "wsgi_preflight on;"
EVERYTHING = "\nlocation / { wsgi_pass app.py; }\n"
APP = PRELUDE + '''
note("import", os.getpid())


def application(environ, start_response):
    note("called")
    return answer(start_response, os.getpid())
'''
as_nobody = pytest.mark.skipif(not nobody_has_python(), reason="the user nobody cannot start this Python")


def prepared(nginx, text, server=EVERYTHING, http=HTTP, apps=None, **more):
    return nginx(server, http=http, apps={"app.py": APP + text, **(apps or {})}, start=False, **more)


def of_nobody(server):
    """The workers, and so the child, belong to nobody; who may write notes."""
    server.folder.chmod(0o777)
    server.whole_text = server.text().replace("user root;", "user nobody nogroup;")
    return server


@as_nobody
def test_it_has_the_user_and_the_groups_of_the_workers(nginx):
    server = of_nobody(prepared(nginx, """
note("user", os.getuid(), os.geteuid(), os.getgid(), os.getegid(), sorted(os.getgroups()))
try:
    os.setuid(0)
except PermissionError:
    note("no way back")
"""))
    accepts(server)
    child = notes(server, "user") + notes(server, "no way back")
    # The workers themselves, for comparison.
    (server.folder / "notes").unlink()
    server.start()
    assert server.get("/").status == 200
    worker = notes(server, "user")[-1]
    assert child == [worker, "no way back"]
    assert worker.split()[1] not in ("0", "")


@as_nobody
def test_what_that_user_may_not_read_is_an_error(nginx, folder):
    server = of_nobody(prepared(nginx, ""))
    (folder / "app.py").chmod(0o600)
    ((text, number),) = complaints(server)
    assert re.search(r"PermissionError: .*app\.py", text)
    assert number == line_of(server, "wsgi_pass app.py")
    (folder / "app.py").chmod(0o644)
    accepts(server)


def test_it_has_the_environment_of_the_workers(nginx):
    server = prepared(nginx, """
import subprocess

note("sees", os.environ.get("GREETING"), os.environ.get("SECRET"), os.environ.get("KEPT"))
note("child sees", subprocess.check_output(["sh", "-c", "echo $GREETING"], text=True).strip())
note("optimize", sys.flags.optimize)
""", http=HTTP + "wsgi_env GREETING hello; wsgi_python_optimize 1;", main="env KEPT;",
                      env={"SECRET": "x", "KEPT": "kept"})
    accepts(server)
    assert notes(server, "sees") == ["sees hello None kept"]
    assert notes(server, "child sees") == ["child sees hello"]
    assert notes(server, "optimize") == ["optimize 1"]


def test_it_runs_nothing_else(nginx):
    """No request, no atexit function, no thread that would keep it."""
    server = prepared(nginx, """
import atexit
import threading

atexit.register(note, "atexit")


def forever():
    while True:
        time.sleep(0.01)


threading.Thread(target=forever).start()
threading.Thread(target=forever, daemon=True).start()


class Last:
    def __del__(self):
        note("collected at exit")


sys.keep = Last()
""")
    accepts(server)
    (line,) = notes(server)
    pid = int(line.split()[1])
    wait_for(lambda: not alive(pid), "the child is gone")
    assert notes(server) == [line]


def test_the_master_never_runs_python(nginx):
    server = prepared(nginx, "import threading\n"
                      "threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n")
    server.start()
    before = rss(server.pid)
    for _ in range(3):
        server.hup()
    imports = [int(line.split()[1]) for line in notes(server, "import")]
    assert len(imports) == 8, "four times the child, four times a worker"
    assert len(set(imports)) == 8 and server.pid not in imports
    assert os.listdir(f"/proc/{server.pid}/task") == [str(server.pid)], "no thread in the master"
    assert rss(server.pid) - before < 2 * 1024 * 1024
    wait_for(lambda: server.all_children() == server.workers(), "nobody else is left")


def test_descriptors_of_the_master(nginx):
    server = prepared(nginx, "")
    server.start()
    before = len(open_fds(server.pid))
    for _ in range(3):
        server.hup()
    # The master hears of the end of a worker a moment later.
    wait_for(lambda: len(open_fds(server.pid)) == before, lambda: f"{before} descriptors: {open_fds(server.pid)}")


def test_what_it_prints_is_not_lost(nginx):
    server = prepared(nginx, "print('printed at import')\nraise ValueError('and broken')\n")
    accepted, output = server.test_config()
    assert not accepted and "ValueError: and broken" in output
    log = (server.folder / "error.log").read_text() if (server.folder / "error.log").exists() else ""
    assert "printed at import" in output + log


def gone(*pids):
    for pid in pids:
        wait_for(lambda: not alive(pid), f"process {pid} is gone")


BLOCKING = '''
import subprocess

child = subprocess.Popen(["sleep", "600"])
note("sleeping", child.pid)
'''


@pytest.mark.parametrize("how", ["block_until_there('go')", "time.sleep(600)",
                                 "import threading; threading.Lock().acquire(); threading.Event().wait()",
                                 "child.wait()", "while True: pass"])
def test_an_import_that_takes_too_long(nginx, how):
    server = prepared(nginx, BLOCKING + how + "\n", http=HTTP + "wsgi_preflight_timeout 1s;")
    ((text, number),) = complaints(server)
    assert text == (f'application "{server.folder}/app.py" was not imported within 1 s (wsgi_preflight_timeout)')
    assert number == line_of(server, "wsgi_pass app.py")
    gone(*[int(line.split()[1]) for line in notes(server)])


def test_an_import_that_refuses_to_end(nginx):
    server = prepared(nginx, """
while True:
    try:
        time.sleep(600)
    except BaseException:
        pass
""", http=HTTP + "wsgi_preflight_timeout 500ms;")
    ((text, _),) = complaints(server)
    assert "was not imported within 0.5 s (wsgi_preflight_timeout)" in text
    gone(int(notes(server)[0].split()[1]))


def test_an_import_in_time(nginx):
    server = prepared(nginx, "time.sleep(0.5)\n", http=HTTP + "wsgi_preflight_timeout 20s;")
    begin = time.monotonic()
    accepts(server)
    assert time.monotonic() - begin >= 0.5, "it was waited for"


def test_processes_of_a_good_import_are_its_own(nginx):
    """What an application starts at import is no business of nginx's, but nothing waits for it."""
    server = prepared(nginx, BLOCKING)
    accepts(server)
    pids = [int(line.split()[1]) for line in notes(server)]
    gone(pids[0])
    try:
        os.kill(pids[1], 15)
    except ProcessLookupError:
        pass


@pytest.mark.parametrize("code, said", [
    ("os.abort()", r"signal 6"),
    ("os.kill(os.getpid(), 9)", r"signal 9"),
    ("import ctypes; ctypes.string_at(8)", r"signal 11"),
    ("os._exit(3)", r".*3"),
    ("os._exit(0)", r".*"),
])
def test_an_import_that_ends_the_process(nginx, code, said):
    server = prepared(nginx, "import faulthandler; faulthandler.disable()\n" + code + "\n")
    ((text, number),) = complaints(server)
    assert re.fullmatch(rf'importing application "{server.folder}/app\.py" ended the process \({said}\)', text), text
    assert number == line_of(server, "wsgi_pass app.py")


@pytest.mark.parametrize("code", ["os.closerange(3, 1024)", "os.closerange(0, 1024)", "sys.stdout = sys.stderr = None",
                                  "os.setsid()", "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"])
def test_an_import_that_treats_the_process_as_its_own(nginx, code):
    """Whatever becomes of the report, a broken application never passes, and nothing hangs."""
    server = prepared(nginx, code + "\nraise ValueError('broken after that')\n")
    ((text, number),) = complaints(server)
    assert "app.py" in text and number == line_of(server, "wsgi_pass app.py")


def test_the_one_that_ended_the_process_is_named(nginx):
    server = prepared(nginx, "", """
location / { wsgi_pass app.py; }
location /dead { wsgi_pass dead.py; }
location /after { wsgi_pass after.py; }
""", apps={"dead.py": "import os\nos.abort()\n", "after.py": APP})
    found = complaints(server)
    assert (f'importing application "{server.folder}/dead.py" ended the process (signal 6)',
            line_of(server, "wsgi_pass dead.py")) in found
    assert not [text for text, _ in found if "app.py" in text]


def test_a_fork_at_import_reports_nothing_twice(nginx):
    server = prepared(nginx, """
if os.fork() == 0:
    os._exit(0)
raise ValueError("after a fork")
""")
    ((text, _),) = complaints(server)
    assert text.endswith("ValueError: after a fork")


def test_signal_handlers_are_refused_as_in_a_worker(nginx):
    server = prepared(nginx, "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n")
    accepted, output = server.test_config()
    assert accepted, output


def test_a_single_process_checks_at_its_start(nginx):
    server = prepared(nginx, "raise ValueError('broken')\n", master=False)
    server.write_conf()
    done = subprocess.run(server.command(), capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "ValueError: broken in " in done.stderr


def test_a_single_process_skips_it_at_a_reload(nginx, folder):
    server = nginx(EVERYTHING, http=HTTP, apps={"app.py": APP}, master=False, check_connections=False,
                   check_fds=False, allow=["worker_connections are not enough", "open socket"])
    with server.connect() as client:
        assert client.request("GET", "/").json() == server.pid
        (folder / "app.py").write_text("1 / 0\n")
        server.signal("HUP")
        server.wait_for_log(r'\[warn\].*wsgi: "wsgi_preflight" is skipped at a reload of a single process')
        assert client.request("GET", "/").status == 200
    assert not server.log_lines("ZeroDivisionError.* in ")


def test_an_import_that_closes_its_descriptors_cannot_escape_the_limit(nginx):
    server = prepared(nginx, """
os.closerange(3, 64)
time.sleep(300)
""", http=HTTP + "wsgi_preflight_timeout 1s;")
    begun = time.monotonic()
    ((text, _),) = complaints(server)
    assert "was not imported within 1 s" in text
    assert time.monotonic() - begun < 100


def test_an_import_that_closes_its_descriptors_is_no_success(nginx):
    ((text, _),) = complaints(prepared(nginx, "\nos.closerange(3, 64)\n"))
    assert text.endswith("ended the process (exit code 0, without a report)")


def test_a_master_can_end_meanwhile(nginx, folder):
    """Its signals wait while it reads a configuration."""
    server = prepared(nginx, "", http=HTTP + "wsgi_preflight_timeout 200s;", workers=1)
    server.start()
    (folder / "app.py").write_text(APP + "note('hangs')\ntime.sleep(300)\n")
    server.signal("HUP")
    wait_for(lambda: notes(server, "hangs"), server.tail)
    begun = time.monotonic()
    server.stop()
    assert time.monotonic() - begun < 100
