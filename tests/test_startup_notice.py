"""At start the module says once what it is, with nginx's and Python's version."""

import re
import subprocess

from harness.nginx import PYTHON, VERSION_TEXT

NOTICE = r"\[notice\].* wsgi: nginx mod_wsgi (\S+), nginx/(\S+), Python (\S+)$"
APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""


def test_once_with_all_versions(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, workers=2)
    server.get("/")
    (line,) = server.log_lines(r"nginx mod_wsgi")
    module, nginx_version, python = re.search(NOTICE, line).groups()
    assert re.fullmatch(r"\d+\.\d+\.\d+", module)
    assert nginx_version == VERSION_TEXT
    built_for = subprocess.run([PYTHON, "-c", "import platform; print(platform.python_version())"],
                               capture_output=True, text=True, check=True).stdout.strip()
    assert python.rsplit(".", 1)[0] == built_for.rsplit(".", 1)[0]


def test_single_process(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, master=False)
    assert len(server.log_lines(NOTICE)) == 1


def test_not_when_only_testing_a_configuration(nginx):
    server = nginx("location / { wsgi_pass app.py; }", apps={"app.py": APP}, start=False)
    accepted, output = server.test_config()
    assert accepted
    assert "mod_wsgi" not in output
