"""The harness itself, against an nginx without the module: what it claims to see, it must see."""

import os

import pytest

from harness.http import Truncated
from harness.nginx import NginxError, VENDORED, wait_for

PLAIN = 'location / { return 200 "hello\\n"; }'


def test_get_and_keep_alive(nginx):
    server = nginx(PLAIN, load_module=False)
    answer = server.get("/x")
    assert (answer.status, answer.body, answer.complete) == (200, b"hello\n", True)
    client = server.connect()
    for _ in range(3):
        assert client.request("GET", "/").body == b"hello\n"
    client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [client.read_response().status for _ in range(2)] == [200, 200]


def test_truncated_answer_is_seen(nginx):
    server = nginx("location / { root %%FOLDER%%; limit_rate 1k; }", load_module=False, workers=1,
                   allow=[r"exited on signal 9"])
    server.check_connections = False
    (server.folder / "big").write_bytes(b"x" * 100000)
    client = server.connect()
    client.send_request("GET", "/big")
    head = client.read_head()
    os.kill(server.worker, 9)
    with pytest.raises(Truncated):
        client.read_body(head)
    assert not head.complete


def test_hup_replaces_workers(nginx):
    server = nginx(PLAIN, load_module=False, workers=2)
    old = server.workers()
    assert len(old) == 2
    server.hup(server='location / { return 200 "changed"; }')
    assert not set(old) & set(server.workers())
    assert server.get().body == b"changed"


def test_single_process(nginx):
    server = nginx(PLAIN, load_module=False, master=False)
    assert server.get().status == 200
    assert server.workers() == [server.pid]


def test_leaked_connection_is_seen(nginx):
    server = nginx(PLAIN, load_module=False)
    client = server.connect()
    client.request()
    server.clients.clear()
    with pytest.raises(NginxError, match="connections left open"):
        server.stop()
    client.close()


def test_alert_is_seen(nginx):
    server = nginx(PLAIN, load_module=False)
    os.kill(server.worker, 9)
    server.wait_for_log("exited on signal 9")
    wait_for(lambda: len(server.workers()) == 1, "a new worker")
    with pytest.raises(NginxError, match="exited on signal 9"):
        server.stop()


def test_configuration_error(nginx):
    server = nginx("nonsense on;", load_module=False, start=False)
    accepted, output = server.test_config()
    assert not accepted and 'unknown directive "nonsense"' in output
    with pytest.raises(NginxError, match="unknown directive"):
        server.start()
    server.process = None


@pytest.mark.parametrize("tls", [False, True])
def test_http2(nginx, tls):
    server = nginx("location / { root %%FOLDER%%; }", load_module=False, tls=True, h2c=True)
    (server.folder / "big").write_bytes(b"x" * 200000)
    client = server.h2(tls=tls, hold=True)
    stream = client.send_request("GET", "/big")
    client.wait(lambda: len(stream.body) == 65535, "a full window")
    client.quiet(0.1)
    assert len(stream.body) == 65535 and not stream.complete
    client.hold = False
    client.release()
    client.finish(stream)
    assert stream.complete and len(stream.body) == 200000 and stream.status == 200
    assert server.get("/big", tls=True).status == 200


def test_ipv6_and_unix(nginx):
    server = nginx(PLAIN, load_module=False, ipv6=True, unix=True)
    assert server.get(ipv6=True).status == 200
    assert server.get(unix=True).status == 200


@pytest.mark.skipif(not VENDORED, reason="nginx before 1.25 has no HTTP/3")
def test_http3(nginx):
    server = nginx(PLAIN, load_module=False, h3=True)
    one, two = server.h3(("GET", "/"), ("POST", "/", [("x-a", "b")], b"body"))
    assert (one.status, one.body, one.complete) == (200, b"hello\n", True)
    assert two.status == 200
