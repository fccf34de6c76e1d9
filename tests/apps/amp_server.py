"""A server of AMP, Twisted's protocol of questions and answers, for tests: amp_server.py FOLDER, on FOLDER/amp.sock."""

import os
import sys

from twisted.internet import reactor, task
from twisted.internet.protocol import Factory
from twisted.protocols import amp


class Sum(amp.Command):
    arguments = [(b"numbers", amp.ListOf(amp.Integer()))]
    response = [(b"total", amp.Integer())]


class Divide(amp.Command):
    arguments = [(b"number", amp.Integer()), (b"by", amp.Integer())]
    response = [(b"result", amp.Float())]
    errors = {ZeroDivisionError: b"ZERO_DIVISION"}


class Wait(amp.Command):
    """Answered when a file of that name is in the folder."""

    arguments = [(b"name", amp.Unicode())]
    response = [(b"waiting", amp.Integer())]


class Notice(amp.Command):
    """Sent by the server, to a client that has asked for it by Wait."""

    arguments = [(b"text", amp.Unicode())]
    response = []


class Server(amp.AMP):
    waiting = 0

    @Sum.responder
    def sum(self, numbers):
        return {"total": sum(numbers)}

    @Divide.responder
    def divide(self, number, by):
        return {"result": number / by}

    @Wait.responder
    def wait(self, name):
        Server.waiting += 1
        with open(os.path.join(FOLDER, "waiting"), "a") as file:
            file.write(name + "\n")
        most = []

        def look():
            most.append(Server.waiting)
            if os.path.exists(os.path.join(FOLDER, name)):
                Server.waiting -= 1
                loop.stop()
        loop = task.LoopingCall(look)
        done = loop.start(0.01)
        if name.startswith("noticed"):
            done.addCallback(lambda _: self.callRemote(Notice, text=name))
        return done.addCallback(lambda _: {"waiting": max(most)})


if __name__ == "__main__":
    FOLDER = sys.argv[1]
    reactor.listenUNIX(os.path.join(FOLDER, "amp.sock"), Factory.forProtocol(Server), mode=0o777)
    reactor.run()
