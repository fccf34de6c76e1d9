"""Questions and answers for AMP, Twisted's own protocol, and who answers them."""

from twisted.internet.protocol import Factory
from twisted.protocols import amp


class Sum(amp.Command):
    arguments = [(b"numbers", amp.ListOf(amp.Integer()))]
    response = [(b"total", amp.Integer())]


class Divide(amp.Command):
    arguments = [(b"number", amp.Integer()), (b"by", amp.Integer())]
    response = [(b"result", amp.Float())]
    errors = {ZeroDivisionError: b"ZERO_DIVISION"}


class Calculator(amp.AMP):
    @Sum.responder
    def sum(self, numbers):
        return {"total": sum(numbers)}

    @Divide.responder
    def divide(self, number, by):
        return {"result": number / by}


factory = Factory.forProtocol(Calculator)
