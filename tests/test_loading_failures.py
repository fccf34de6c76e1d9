"""An application that fails to import: 500, its traceback in the log, neighbours untouched, tried again."""

import os
import re
import subprocess
import time

import pytest

from harness.nginx import PYTHON, wait_for

pytestmark = pytest.mark.once

GOOD = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"good"]
"""
CANNOT = r"\[error\].*wsgi: cannot load application \"(?:\S+/)?{}\": "


def failures(server, target="bad.py"):
    return server.log_lines(CANNOT.format(re.escape(target)))


def pair(nginx, text, target="bad.py", **more):
    return nginx("location / { wsgi_pass good.py; } location /bad { wsgi_pass %s; }" % target,
                 apps={"good.py": GOOD, "bad.py": text}, **more)


@pytest.mark.parametrize("text, message, place", [
    ("import nothing_like_this\n", "ModuleNotFoundError: No module named 'nothing_like_this'", 'bad.py", line 1'),
    ("x = 1\nraise ValueError('broken configuration')\n", "ValueError: broken configuration", 'bad.py", line 2'),
    ("def f(:\n    pass\n", "SyntaxError: ", 'bad.py", line 1'),
    ("if True:\nx = 1\n", "IndentationError: ", 'bad.py", line 2'),
    ("x = '\x00'\n", "(SyntaxError|ValueError): ", "bad.py"),
    ("import sys\nsys.exit(3)\n", "SystemExit: 3", 'bad.py", line 2'),
    ("raise KeyboardInterrupt\n", "KeyboardInterrupt", 'bad.py", line 1'),
    ("def f(): f()\nf()\n", "RecursionError: ", 'bad.py", line 1'),
    ("raise MemoryError\n", "MemoryError", 'bad.py", line 1'),
    ("x = bytearray(1 << 60)\n", "MemoryError", 'bad.py", line 1'),
    ("class E(BaseException): pass\nraise E('of its own')\n", "E: of its own", 'bad.py", line 2'),
])
def test_import_error(nginx, text, message, place):
    server = pair(nginx, text)
    worker = server.worker
    (line,) = server.wait_for_log(CANNOT.format("bad\\.py"))
    assert re.search(CANNOT.format("bad\\.py") + message, line), line
    server.wait_for_log(re.escape(place))
    assert server.get("/").text == "good"
    answer = server.get("/bad")
    assert answer.status == 500
    assert "Traceback" not in answer.text and "bad.py" not in answer.text, "nothing of it reaches the client"
    assert server.get("/").text == "good"
    assert server.worker == worker


@pytest.mark.parametrize("target, text, message", [
    ("bad.py", "x = 1\n", "AttributeError: .*application"),
    ("bad.py:shop", GOOD, "AttributeError: .*shop"),
    ("bad.py:shop.app", "class shop: pass\n", "AttributeError: .*app"),
    ("bad.py", "application = None\n", "TypeError: .*application.*None"),
    ("bad.py", "application = 'text'\n", "TypeError: .*application.*str"),
    ("bad.py:make()", "def make(): raise ValueError('no settings')\n", "ValueError: no settings"),
    ("bad.py:make()", "def make(): return None\n", "TypeError: .*make\\(\\).*None"),
    ("bad.py:make()", "make = 3\n", "TypeError: .*make.*int"),
    ("bad.py:make()", "def make(argument): pass\n", "TypeError: .*make\\(\\).*argument"),
    ("no_such_module", "", "ModuleNotFoundError: No module named 'no_such_module'"),
    ("no_such_package.web:app", "", "ModuleNotFoundError: No module named 'no_such_package'"),
])
def test_callable_missing_or_wrong(nginx, target, text, message):
    server = pair(nginx, text, target)
    (line,) = server.wait_for_log(CANNOT.format(re.escape(target)))
    assert re.search(message, line), line
    assert server.get("/bad").status == 500
    assert server.get("/").text == "good"


def test_traceback_is_complete(nginx):
    """One log line for each line of the traceback, in order, the chain of causes included."""
    server = pair(nginx, "def deep(n):\n    if n:\n        deep(n - 1)\n    else:\n        int('x')\n"
                         "try:\n    deep(60)\nexcept ValueError as e:\n    raise RuntimeError('%s%n broken') from e\n")
    server.wait_for_log(CANNOT.format("bad\\.py") + "RuntimeError: %s%n broken")
    lines = [re.sub(r"^.*?wsgi: ", "", line) for line in server.log_lines(r"\[error\].*wsgi: ")]
    text = "\n".join(lines)
    assert "Traceback (most recent call last):" in text
    assert "ValueError: invalid literal for int() with base 10: 'x'" in text
    assert "The above exception was the direct cause of the following exception:" in text
    assert lines[-1] == "RuntimeError: %s%n broken"
    assert "    raise RuntimeError('%s%n broken') from e" in text
    assert text.count("in deep") >= 4
    assert "ngx_wsgi" not in text, "frames of the module itself only distract"


def test_a_very_long_message_is_complete(nginx):
    server = pair(nginx, "raise ValueError('a' * 5000 + ' ' + ' '.join(f'w{n:05}' for n in range(5000)))\n")
    server.wait_for_log("w04999")
    log = server.log()
    assert {f"w{n:05}" for n in range(5000)} <= set(re.findall(r"w\d{5}", log))


def test_meanwhile_each_request_is_told_why(nginx):
    server = pair(nginx, "import nothing_like_this\n")
    assert server.get("/bad").status == 500
    assert server.get("/bad").status == 500
    lines = server.wait_for_log(r'wsgi: application "\S+/bad\.py" is not loaded \(ModuleNotFoundError: No module named')
    assert 'request: "GET /bad HTTP/1.1"' in lines[0]


def test_tried_again_at_most_once_a_second(nginx, folder):
    """And what is known is not said with its traceback again."""
    tries = folder / "tries"
    server = pair(nginx, f"open({str(tries)!r}, 'a').write('x')\nimport nothing_like_this\n")
    assert tries.read_text() == "x"
    start = time.monotonic()
    requests = 0
    while time.monotonic() < start + 1.5:
        assert server.get("/bad").status == 500
        requests += 1
    elapsed = time.monotonic() - start
    assert requests > 20
    assert 2 <= len(tries.read_text()) <= 2 + int(elapsed)
    assert len(failures(server)) == 1


def test_tried_again_after_a_second_without_a_change_of_the_file(nginx, folder):
    """What was missing may be something else than the script."""
    server = pair(nginx, "import late\n" + GOOD)
    assert server.get("/bad").status == 500
    (folder / "late.py").write_text("")
    before = time.monotonic()
    wait_for(lambda: server.get("/bad").status == 200, "the second attempt", 4)
    assert time.monotonic() - before < 2.5


def test_at_once_when_the_file_changed(nginx, folder):
    server = pair(nginx, "import nothing_like_this\n")
    for attempt in range(5):
        (folder / "bad.py").write_text(f"# {attempt}\nraise ValueError('attempt {attempt}')\n")
        assert server.get("/bad").status == 500
        assert server.log_lines(CANNOT.format("bad\\.py") + f"ValueError: attempt {attempt}"), "not tried at once"
    (folder / "bad.py").write_text(GOOD)
    assert server.get("/bad").text == "good"
    # Loaded is loaded: another change does nothing without a reload.
    (folder / "bad.py").write_text("raise ValueError('too late')\n")
    assert server.get("/bad").text == "good"


def test_missing_callable_at_once_when_the_file_changed(nginx, folder):
    """The import went well but the callable was missing: the new file must be seen, not the imported module."""
    server = pair(nginx, "x = 1\n")
    assert server.get("/bad").status == 500
    (folder / "bad.py").write_text(GOOD)
    assert server.get("/bad").text == "good"


def test_module_at_once_when_its_file_changed(nginx, folder):
    (folder / "lib").mkdir()
    (folder / "lib" / "shop.py").write_text("raise ValueError('not yet')\n")
    server = nginx("wsgi_python_path lib; location / { wsgi_pass shop; }")
    assert server.get("/").status == 500
    (folder / "lib" / "shop.py").write_text(GOOD)
    wait_for(lambda: server.get("/").status == 200, "the module is loaded", 3)


def test_a_script_that_is_removed_after_the_start(nginx, folder):
    server = pair(nginx, "raise ValueError('first')\n")
    (folder / "bad.py").unlink()
    assert server.get("/bad").status == 500
    assert server.get("/").text == "good"
    (folder / "bad.py").write_text(GOOD)
    wait_for(lambda: server.get("/bad").status == 200, "loaded after it came back", 3)


def nobody_has_python():
    """Whether root can give workers to a user who can start this Python, which may lie in a private folder."""
    if os.getuid() != 0:
        return False
    try:
        return subprocess.run([PYTHON, "-c", "import json"], user="nobody", capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not nobody_has_python(), reason="the user nobody cannot start this Python")
def test_a_script_that_the_user_of_the_worker_may_not_read(nginx, folder):
    """`nginx -t` as root sees nothing wrong with it; the log of the worker says what it is."""
    server = nginx("location / { wsgi_pass good.py; } location /bad { wsgi_pass bad.py; }", start=False,
                   apps={"good.py": GOOD, "bad.py": GOOD})
    (folder / "bad.py").chmod(0o600)
    server.whole_text = server.text().replace("user root;", "user nobody nogroup;")
    server.start()
    assert server.get("/").text == "good"
    assert server.get("/bad").status == 500
    assert re.search("PermissionError: .*bad\\.py", failures(server)[0])
    (folder / "bad.py").chmod(0o644)
    wait_for(lambda: server.get("/bad").status == 200, "loaded with new permissions", 3)


def test_failing_import_in_every_worker(nginx):
    server = pair(nginx, "import nothing_like_this\n", workers=2)
    workers = server.workers()
    assert len(failures(server)) == 2
    for _ in range(6):
        assert server.get("/bad").status == 500
        assert server.get("/").text == "good"
    assert server.workers() == workers


def test_reload_with_a_failing_import(nginx, folder):
    """The new workers answer 500 for this application, the others go on: HUP itself never fails for it."""
    server = nginx("location / { wsgi_pass good.py; } location /two { wsgi_pass two.py; }",
                   apps={"good.py": GOOD, "two.py": GOOD})
    (folder / "two.py").write_text("import nothing_like_this\n")
    server.hup()
    assert server.get("/").text == "good"
    assert server.get("/two").status == 500


def test_failing_import_leaves_half_a_module_behind_for_nobody(nginx, folder):
    """A second attempt runs the script from the start, in a new module."""
    server = pair(nginx, "try:\n    seen += 1\nexcept NameError:\n    seen = 1\nraise ValueError(f'seen {seen}')\n")
    (folder / "bad.py").write_text((folder / "bad.py").read_text() + "# changed\n")
    assert server.get("/bad").status == 500
    assert len(failures(server)) == 2
    assert all("seen 1" in line for line in failures(server))


def test_error_page_for_it(nginx):
    server = nginx("""
        location / { wsgi_pass bad.py; error_page 500 = @sorry; }
        location @sorry { return 503 "sorry"; }
    """, apps={"bad.py": "import nothing_like_this\n"})
    assert (server.get("/").status, server.get("/").text) == (503, "sorry")


def test_body_of_a_request_to_it_is_taken(nginx):
    """The client gets its 500 and no reset, although nobody read the body."""
    server = pair(nginx, "import nothing_like_this\n")
    for size in (10, 100000, 900000):
        assert server.post("/bad", b"x" * size).status == 500
    assert server.get("/").text == "good"


def test_lone_surrogates_in_the_message(nginx):
    server = pair(nginx, "raise ValueError('lone \\udc80 surrogate')\n")
    assert server.get("/bad").status == 500
    server.wait_for_log("lone .* surrogate")


@pytest.mark.parametrize("method", ["__str__", "__repr__"])
def test_exception_that_cannot_be_printed(nginx, method):
    server = pair(nginx, f"class E(Exception):\n    def {method}(self): raise ValueError('no')\nraise E()\n")
    assert server.get("/bad").status == 500
    assert failures(server)
    assert server.get("/").text == "good"


def test_a_callable_that_comes_with_an_edit(nginx, folder):
    """The script has been imported for another location; it is read again for the one that failed."""
    text = GOOD.replace("def application", "def {}")
    (folder / "app.py").write_text(text.format("application"))
    server = nginx("location / { wsgi_pass app.py; } location /other { wsgi_pass app.py:other; }")
    assert (server.get("/").status, server.get("/other").status) == (200, 500)
    (folder / "app.py").write_text(text.format("application") + text.format("other"))
    assert (server.get("/other").status, server.get("/").status) == (200, 200)


def test_a_missing_module_without_the_frames_of_importlib(nginx):
    server = nginx("location / { wsgi_pass nothing_like_this; }")
    assert server.log_lines("cannot load application \"nothing_like_this\": ModuleNotFoundError")
    assert not server.log_lines("importlib")
