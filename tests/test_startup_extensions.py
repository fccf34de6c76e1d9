"""Packages with C and Rust extensions, from a virtual environment, imported and used in a worker."""

import pytest

from harness.nginx import TESTS
from harness.venv import environment

pytestmark = pytest.mark.once

APP = """
import json

import cryptography.fernet
import lxml.etree
import numpy
import orjson
import psycopg
import pydantic


class Point(pydantic.BaseModel):
    x: int
    y: int = 2


def use():
    key = cryptography.fernet.Fernet(cryptography.fernet.Fernet.generate_key())
    yield "cryptography", key.decrypt(key.encrypt(b"secret")).decode()
    tree = lxml.etree.fromstring("<a><b c='d'/></a>")
    yield "lxml", tree.xpath("//b/@c")[0]
    yield "numpy", int((numpy.arange(10) @ numpy.arange(10)))
    yield "orjson", orjson.loads(orjson.dumps({"a": [1, 2]}))["a"]
    yield "psycopg", psycopg.pq.__impl__
    yield "pydantic", Point(x="1").model_dump()


def application(environ, start_response):
    found = dict(use())
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(found).encode()]
"""
EXPECTED = {"cryptography": "secret", "lxml": "d", "numpy": 285, "orjson": [1, 2], "psycopg": "binary",
            "pydantic": {"x": 1, "y": 2}}


@pytest.mark.slow
@pytest.mark.parametrize("directive", ["wsgi_python_executable %s/bin/python;", "wsgi_python_home %s;"])
def test_in_a_virtual_environment(nginx, directive):
    folder = environment("extensions", TESTS / "requirements-extensions.txt")
    server = nginx(directive % folder + " location / { wsgi_pass app.py; }", apps={"app.py": APP}, workers=2)
    for _ in range(4):
        answer = server.get("/")
        assert answer.status == 200, server.tail()
        assert answer.json() == EXPECTED
    # Fresh interpreters after a reload, in fresh processes: extensions never see a second one.
    server.hup()
    assert server.get("/").json() == EXPECTED
