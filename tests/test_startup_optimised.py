"""At start the log says once, and at level notice, that the Python library is one without optimisation."""

import json
import re
import subprocess

from harness.nginx import PYTHON

NOTICE = r"\[notice\].* wsgi: (\S+) was built without --enable-optimizations .* see docs/python\.md$"
APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    with open("/proc/self/maps") as maps:
        return ["".join(line for line in maps if "libpython" in line).encode()]
"""


def built_for():
    """(the folder of its library, how it was configured), in the words of the Python that the module is built for"""
    code = "import json, sysconfig; print(json.dumps(sysconfig.get_config_vars('LIBDIR', 'CONFIG_ARGS')))"
    return json.loads(subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout)


def test_said_once_and_only_if_it_is_true(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, workers=2)
    loaded = server.get("/").text
    folder, arguments = built_for()
    assert f" {folder}/libpython3." in loaded
    lines = server.log_lines(r"enable-optimizations")
    assert len(lines) == ("--enable-optimizations" not in arguments)
    for line in lines:
        # The file that is mapped, not another one.
        assert f" {re.search(NOTICE, line)[1]}\n" in loaded


def test_not_again_at_a_reload(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP})
    before = len(server.log_lines(r"enable-optimizations"))
    server.hup()
    assert len(server.log_lines(r"enable-optimizations")) == before
