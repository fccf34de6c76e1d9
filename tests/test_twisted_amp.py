"""A client of AMP in a worker: one connection, many questions at a time, and questions from the other side."""

import subprocess
import sys

import pytest

from harness.apps import touch, wait_notes
from harness.asynchronous import answers, ask
from harness.nginx import TESTS, _before_exec, wait_for
from harness.twisted import serve

pytestmark = [pytest.mark.inline_only, pytest.mark.once]

APP = """
    sys.path.insert(0, os.environ["APPS"])
    from amp_server import Divide, Notice, Sum, Wait
    from twisted.internet.endpoints import UNIXClientEndpoint
    from twisted.protocols.amp import AMP

    class Client(AMP):
        @Notice.responder
        def notice(self, text):
            note("noticed", text)
            return {}

        def connectionLost(self, reason):
            global connected
            connected = None
            AMP.connectionLost(self, reason)

    connected = None

    def remote(command, **arguments):
        # All requests share one connection, made by the first of them.
        global connected
        if connected is None:
            connected = defer.ensureDeferred(connect())
        # Each request has a Deferred of its own: one that is cancelled takes nothing from the others.
        mine = defer.Deferred()
        connected.addCallback(lambda client: (mine.callback(client), client)[1])
        return mine.addCallback(lambda client: client.callRemote(command, **arguments))

    async def connect():
        endpoint = UNIXClientEndpoint(reactor, os.environ["SOCKET"])
        return await connectProtocol(endpoint, Client())

    def deferred_sum(environ):
        numbers = [int(number) for number in query(environ).split(",")]
        return remote(Sum, numbers=numbers).addCallback(lambda found: found["total"])

    def deferred_divide(environ):
        number, by = query(environ).split(",")
        answered = remote(Divide, number=int(number), by=int(by))
        return answered.addCallbacks(lambda found: found["result"],
                                     lambda failure: failure.trap(ZeroDivisionError).__name__)

    def deferred_wait(environ):
        return remote(Wait, name=query(environ)).addCallback(lambda found: found["waiting"])
    """


@pytest.fixture
def server(nginx, folder):
    with subprocess.Popen([sys.executable, TESTS / "apps/amp_server.py", folder], preexec_fn=_before_exec) as process:
        wait_for((folder / "amp.sock").exists, "the AMP server is there")
        yield serve(nginx, APP, env={"APPS": TESTS / "apps", "SOCKET": folder / "amp.sock"})
        process.terminate()


def test_questions(server):
    for how in ("until", "wait", "respond"):
        assert server.get(f"/sum/{how}?1,2,3").json() == 6
        assert server.get(f"/divide/{how}?1,4").json() == 0.25
        # An error goes over the wire and is an exception of the same type here.
        assert server.get(f"/divide/{how}?1,0").json() == "ZeroDivisionError"
        found = answers(ask(server, *[f"/sum/{how}?{number},{number}" for number in range(20)]))
        assert [answer.json() for answer in found] == [2 * number for number in range(20)]


def test_questions_wait_side_by_side(server):
    clients = ask(server, *[f"/wait?w{number}" for number in range(10)])
    def asked():
        path = server.folder / "waiting"
        return path.exists() and len(path.read_text().splitlines()) == 10
    wait_for(asked, "all ten wait")
    assert server.get("/sum?4,5").json() == 9
    for number in reversed(range(10)):
        touch(server, f"w{number}")
    assert max(answer.json() for answer in answers(clients)) == 10


def test_questions_of_the_other_side(server):
    client, = ask(server, "/wait?noticed1")
    touch(server, "noticed1")
    assert client.read_response().status == 200
    assert wait_notes(server, "noticed") == ["noticed noticed1"]


def test_the_client_leaves(server):
    gone, staying = ask(server, "/wait?gone", "/wait?stays")
    wait_for(lambda: (server.folder / "waiting").exists() and
             set((server.folder / "waiting").read_text().split()) == {"gone", "stays"}, "both wait")
    gone.reset()
    wait_for(lambda: server.status()["writing"] == 2, "it has left")
    # The answer that nobody waits for comes all the same, and hurts nobody.
    touch(server, "gone")
    touch(server, "stays")
    assert staying.read_response().status == 200
    assert server.get("/sum?4,5").json() == 9
