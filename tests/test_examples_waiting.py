"""The examples of applications that wait without threads: they wait side by side, and go on when they should."""

import contextlib
import json
import re
import threading

import pytest

from harness.nginx import wait_for

pytestmark = pytest.mark.once

SLEPT = r"Slept for (\d\.\d{3}) s in worker \d+, beside (\d+) others\.\n"


@contextlib.contextmanager
def asked(site, count, target):
    """So many clients that have asked for the same thing."""
    clients = [site.connect() for _ in range(count)]
    try:
        for client in clients:
            client.send_request("GET", target)
        yield clients
    finally:
        for client in clients:
            client.close()


def test_sleep(site):
    """20 in two workers, and both serve others meanwhile."""
    with asked(site, 20, "/sleep?seconds=1") as clients:
        assert all(site.get("/hello").status == 200 for _ in range(20))
        answers = [re.fullmatch(SLEPT, client.read_response().text) for client in clients]
    assert all(answers)
    assert all(float(answer[1]) >= 1 for answer in answers)
    assert max(int(answer[2]) for answer in answers) >= 9


def test_sleep_ends_with_its_client(site):
    """Whoever has left is not counted any more."""
    with asked(site, 8, "/sleep?seconds=60") as clients:
        wait_for(lambda: any(int(re.fullmatch(SLEPT, site.get("/sleep?seconds=0").text)[2]) for _ in range(8)),
                 "some of them sleep")
        for client in clients:
            client.reset()
    wait_for(lambda: not any(int(re.fullmatch(SLEPT, site.get("/sleep?seconds=0").text)[2]) for _ in range(8)),
             "nobody sleeps any more")


def test_proxy(site):
    """What is asked for on a way round is what one gets directly."""
    direct, around = site.get("/hello"), site.get("/proxy/hello")
    assert (around.status, around.body) == (200, direct.body)
    assert around.header("Content-Type") == direct.header("Content-Type")
    assert site.get("/proxy/nothing").status == 404
    assert site.get("/proxy/proxy/proxy/hello").body == direct.body
    assert "'a%20b=%C3%A4&amp;c'" in site.get("/proxy/environ/x?a%20b=%C3%A4&c").text.replace("&#x27;", "'")
    large = site.get("/proxy/large_file")
    assert large.body == (site.folder / "large_file.bin").read_bytes()


def test_proxy_waits_for_many(site):
    """Each waits for its own socket; the worker that is asked may be the one that waits."""
    with asked(site, 10, "/proxy/sleep?seconds=1") as clients:
        assert site.get("/hello").status == 200
        answers = [re.fullmatch(SLEPT, client.read_response().text) for client in clients]
    assert max(int(answer[2]) for answer in answers) >= 4


def news(site, since):
    return site.get(f"/chat/news?since={since}").json()


def test_chat(site):
    """Those who wait are answered when somebody speaks, whichever worker they wait in."""
    assert "<h1>chat</h1>" in site.get("/chat/").text
    assert site.post("/chat/say", b"name=me&text=first").status == 303
    now = news(site, 0)
    assert {"name": "me", "text": "first"} in now["messages"]
    with asked(site, 12, f"/chat/news?since={now['next']}") as clients:
        assert site.post("/chat/say", "name=Jürgen&text=<b>%C3%A4".encode()).status == 303
        answers = [json.loads(client.read_response().body) for client in clients]
    assert all(answer["messages"] == [{"name": "Jürgen", "text": "<b>ä"}] for answer in answers)
    assert len({answer["next"] for answer in answers}) == 1


def test_chat_after_somebody_has_left(site):
    # While nothing has been said whoever asks waits.
    site.post("/chat/say", b"text=first")
    now = news(site, 0)["next"]
    with asked(site, 4, f"/chat/news?since={now}") as clients:
        site.get("/hello")
        for client in clients:
            client.reset()
    with asked(site, 4, f"/chat/news?since={now}") as clients:
        site.post("/chat/say", b"text=hello")
        for client in clients:
            assert json.loads(client.read_response().body)["messages"] == [{"name": "somebody", "text": "hello"}]


def test_events(site):
    """One after the other, a second apart, and where the last connection ended."""
    assert 'new EventSource("stream")' in site.get("/events/").text
    since = site.log_size()
    with site.connect() as client:
        client.send_request("GET", "/events/stream", [("Last-Event-ID", "41")])
        head = client.read_head()
        assert head.header("Content-Type") == "text/event-stream"
        chunks = [client.read_chunk(head), client.read_chunk(head)]
    events = [re.fullmatch(rb"id: (\d+)\ndata: (.*)\n\n", chunk) for chunk in chunks]
    assert [event[1] for event in events] == [b"42", b"43"]
    first, second = (json.loads(event[2]) for event in events)
    assert first["streams"] == 1 and second["seconds"] - first["seconds"] > 0.8
    site.wait_for_log("events: a stream has ended", since=since)


def test_subrequests(site):
    answer = site.get("/subrequests")
    assert answer.status == 200 and answer.header("X-Parts") == "6"
    text = answer.text
    assert "200, text/plain; charset=utf-8, 14 bytes" in text and "Hello, World!" in text
    assert "A page put together from other locations" in text, "the file"
    ages = [re.search(r"Loaded (\S+) s ago", page).group(1) for page in (text, site.get("/subrequests").text)]
    assert ages[0] == ages[1], "the proxied location has a cache"
    slept = re.findall(SLEPT[:-2], text)
    assert len(slept) == 2 and max(int(others) for _, others in slept) >= 1, "both sleep at the same time"
    assert re.search(r"<h2>/subrequests/nowhere</h2>\n<p>404, ", text)


def test_subrequests_only(site):
    assert site.get("/subrequests/file").status == site.get("/subrequests/cached").status == 404


def test_all_at_once(site):
    """Hundreds of all kinds wait in two workers, and nothing of it is seen elsewhere."""
    now = news(site, 0)["next"]
    with contextlib.ExitStack() as stack:
        sleepers = stack.enter_context(asked(site, 100, "/sleep?seconds=1"))
        listeners = stack.enter_context(asked(site, 50, f"/chat/news?since={now}"))
        proxied = stack.enter_context(asked(site, 20, "/proxy/sleep?seconds=1"))
        streams = stack.enter_context(asked(site, 10, "/events/stream"))
        speaker = threading.Timer(0.2, site.post, ("/chat/say", b"text=now"))
        speaker.start()
        assert site.get("/hello").status == 200
        assert all(client.read_response().status == 200 for client in sleepers + listeners + proxied)
        assert all(client.read_head().status == 200 for client in streams)
        speaker.join()
