"""Children of an application belong to the application: nginx does not steal their exit status."""

APP = """
import json
import os
import signal
import subprocess
import threading


def codes(count):
    return [subprocess.run(["sh", "-c", f"exit {number % 100}"]).returncode for number in range(count)]


def application(environ, start_response):
    what = environ["PATH_INFO"]
    if what == "/run":
        result = codes(30)
    elif what == "/output":
        result = subprocess.check_output(["echo", "hello"], text=True)
    elif what == "/signal":
        result = subprocess.run(["sh", "-c", "kill -9 $$"]).returncode
    elif what == "/system":
        result = os.waitstatus_to_exitcode(os.system("exit 7"))
    elif what == "/popen":
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        out, _ = child.communicate(b"through cat")
        result = [out.decode(), child.returncode]
    elif what == "/threads":
        found = [None] * 4

        def work(index):
            found[index] = codes(8)

        threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        result = found
    elif what == "/fds":
        # A child inherits none of nginx's sockets.
        result = subprocess.run(["ls", "-l", "/proc/self/fd"], capture_output=True, text=True).stdout
    elif what == "/blocked":
        result = sorted(int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, []))
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(result).encode()]
"""


def ask(server, what):
    answer = server.get(what)
    assert answer.status == 200, server.tail()
    return answer.json()


def test_exit_status(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, http="wsgi_block_warning off;")
    for _ in range(2):
        assert ask(server, "/run") == list(range(30))
    assert ask(server, "/output") == "hello\n"
    assert ask(server, "/signal") == -9
    assert ask(server, "/system") == 7
    assert ask(server, "/popen") == ["through cat", 0]


def test_exit_status_in_threads(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, http="wsgi_block_warning off;")
    assert ask(server, "/threads") == [list(range(8))] * 4


def test_child_inherits_no_socket(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP})
    listing = ask(server, "/fds")
    assert "socket:" not in listing, listing
    assert "eventpoll" not in listing and "eventfd" not in listing, listing


def test_no_signal_is_blocked(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP})
    assert ask(server, "/blocked") == []


def test_child_that_outlives_the_request_leaves_no_trouble(nginx):
    """A child that nobody waits for while requests go on; Popen reaps it later."""
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
import subprocess
children = []

def application(environ, start_response):
    children.append(subprocess.Popen(["sleep", "0.05"]))
    done = [child.poll() for child in children]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr([code for code in done if code not in (None, 0)]).encode()]
"""})
    for _ in range(20):
        assert server.get("/").body == b"[]"
    server.hup()


def test_multiprocessing_spawn(nginx):
    """sys.executable is a Python, so that multiprocessing and concurrent.futures find one."""
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": """
import multiprocessing
import operator

def application(environ, start_response):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply(operator.add, (40, 2))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(result).encode()]
"""}, http="wsgi_block_warning off;", check_fds=False)  # multiprocessing keeps a pipe to its resource tracker
    answer = server.get("/")
    assert (answer.status, answer.body) == (200, b"42"), server.tail()
