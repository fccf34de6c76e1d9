"""Nothing that an application puts into status, names or values can add a line to the head of an answer."""

import json
import random
import string

import pytest

from harness.apps import notes, serve

APP = """
    def at_try(environ, start_response):
        status, name, value = json.loads(environ["wsgi.input"].read())
        error = None
        try:
            start_response(status, [("X-Before", "1"), (name, value), ("X-After", "1")])
        except (ValueError, TypeError) as caught:
            error = type(caught).__name__
            start_response("299 Refused", [("X-Refused", error)], sys.exc_info())
        return [b"body"]
    """
PAYLOADS = ["\r\nX-Evil: 1", "\nX-Evil: 1", "\rX-Evil: 1", "\r\n\r\n<html>evil", "\0", "\x0b", "\x0c", "\x1b[31m",
            "\x7f", "\u010d\u010aX-Evil: 1", "\u560d\u560aX-Evil: 1", "\u2028X-Evil: 1", "\x85X-Evil: 1"]


@pytest.fixture
def attempt(nginx):
    server = serve(nginx, APP)
    client = server.connect()

    def run(status="200 OK", name="X-Name", value="value"):
        client.send_request("POST", "/try", body=json.dumps([status, name, value]).encode())
        answer = client.read_response()
        assert answer.body == b"body"
        assert b"x-evil" not in answer.head.lower().replace(b"\x85x-evil", b"")
        return answer
    return run


@pytest.mark.parametrize("payload", PAYLOADS)
def test_payloads_are_refused_wherever_they_are(attempt, payload):
    # NEL is a plain byte of Latin-1, no control character of HTTP: a value may hold it.
    harmless_in_values = payload.startswith("\x85")
    for place in ("", "x", "long " * 50):
        assert attempt(name="X-A" + payload).status == 299
        assert attempt(name=payload + "X-A").status == 299
        for value in (place + payload, payload + place, place + payload + place):
            assert attempt(value=value).status == (200 if harmless_in_values else 299) or harmless_in_values
        assert attempt(status="200 O" + payload + place).status == 299 or harmless_in_values


def test_every_character_in_every_place(nginx):
    """All of Latin-1 and some beyond, decided by the grammar of RFC 9110."""
    server = serve(nginx, """
        def at_all(environ, start_response):
            chars = [chr(code) for code in range(256)] + ["\\u0100", "\\u20ac", "\\ud800", "\\U0001f600"]
            good = {"name": [], "value": [], "status": []}
            for char in chars:
                if refused(start_response, "200 OK", [("X" + char + "Y", "v")]) is None:
                    good["name"].append(ord(char))
                if refused(start_response, "200 OK", [("X-A", "v" + char + "w")]) is None:
                    good["value"].append(ord(char))
                if refused(start_response, "200 O" + char + "K", []) is None:
                    good["status"].append(ord(char))
            return answer(start_response, good, again=True)
        """)
    good = server.get("/all").json()
    token = {ord(char) for char in string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"}
    visible = set(range(0x20, 0x7f)) | set(range(0x80, 0x100))
    assert set(good["name"]) == token
    # PEP 3333 forbids all control characters in values and status, the tab included. The C1 range is left open here:
    # to HTTP these are bytes like any other.
    c1 = set(range(0x80, 0xa0))
    assert set(good["value"]) - c1 == visible - c1
    assert set(good["status"]) - c1 == visible - c1


def test_random_strings_give_a_well_formed_head_or_an_error(attempt):
    rng = random.Random(3333)
    alphabet = string.ascii_letters + " \t\r\n\0:;,\x7f\x80\xff\u0100\"()<>"
    for _ in range(150):
        text = "".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 12)))
        where = rng.choice(["status", "name", "value"])
        answer = attempt(**{where: "200 " + text if where == "status" else text})
        if answer.status == 299:
            assert answer.header("X-Refused") in ("ValueError", "TypeError")
        else:
            names = [name for name, _ in answer.headers]
            assert names.count("X-Before") == names.count("X-After") == 1
            extra = set(name.lower() for name in names) - {"server", "date", "connection", "content-length",
                                                           "transfer-encoding", "x-before", "x-after", "keep-alive"}
            assert len(extra) == 1, names


def test_exc_info_does_not_circumvent_the_checks(nginx):
    server = serve(nginx, """
        def at_x(environ, start_response):
            start_response("200 OK", PLAIN)
            note(refused(start_response, "200 OK", [("X-A", "a\\r\\nX-Evil: 1")]),
                 refused(start_response, "200 OK\\r\\nX-Evil: 1", []),
                 refused(start_response, "200 OK", [("X-A\\r\\nX-Evil", "1")]))
            return [b"body"]
        """)
    answer = server.get("/x")
    assert b"X-Evil" not in answer.head + answer.body
    assert notes(server) == ["ValueError ValueError ValueError"]
