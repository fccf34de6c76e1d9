"""A server as probes see it: how it is asked, and what its application has noted."""

import pathlib
import time

from conformance.client import Wire
from conformance.verdicts import Skip
from harness import http

DEPLOYED = ("DEPLOYED", "by setting")
# A variable in the environment of every server, besides those which it needs itself.
HEADER_OF_PROCESS = "HTTP_FROM_PROCESS"
DATA = b"".join(b"%07d\n" % number for number in range(50_000))


class Asked:
    """What probes know of a server. `address` is where it listens, `folder` where the application leaves notes."""

    title = "?"

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.transcript = []
        (self.folder / "data").write_bytes(DATA)

    # To be told by a server.
    address = None
    tls = False

    def log(self):
        """What the server has logged."""
        raise NotImplementedError

    def other(self, name):
        """The same server with other settings: "tls", "two" processes, "mounted" at /mounted, or "deployed" with
        a name and a value in environ. Raises Skip where there is no setting for that."""
        raise Skip("no setting for it")

    # For probes.
    def connect(self, timeout=3.0, **options):
        return Wire(self.transcript, self.address, tls=self.tls, timeout=timeout, **options)

    def ask(self, target, headers=(), body=None, method="GET", *, version="1.1", chunked=False, seconds=3.0):
        """One request on a connection of its own."""
        with self.connect() as client:
            client.send(http.build(method, target, [*headers, ("Connection", "close")], body, version=version,
                                   chunked=chunked))
            return client.answer(method, seconds)

    def answers(self, seconds, target="/ok"):
        try:
            return self.ask(target, seconds=seconds).status == 200
        except OSError:
            return False

    def post(self, target, body, **more):
        return self.ask(target, body=body, method="POST", **more)

    def environ(self, target="/environ", headers=(), **more):
        """environ as {key: value}; what is not a string, a number or a bool is its repr()."""
        answer = self.ask(target, headers, **more)
        return {key: value for key, (_, value) in answer.json()["entries"].items()}

    def forget(self):
        for name in ("notes", "go"):
            (self.folder / name).unlink(missing_ok=True)

    def notes(self, start=""):
        try:
            lines = (self.folder / "notes").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [line for line in lines if line.startswith(start)]

    def wait_notes(self, start, seconds=2.0):
        """Notes that begin with `start`, as soon as there is one, or [] after a while."""
        deadline = time.monotonic() + seconds
        while not (found := self.notes(start)) and time.monotonic() < deadline:
            time.sleep(0.005)
        return found

    def go(self):
        (self.folder / "go").touch()
