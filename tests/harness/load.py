"""Load: clients that ask without a pause, each in a thread, and note what went wrong."""

import threading

from .http import Connection, Truncated


class Load(threading.Thread):
    """One client. What went wrong is in `failures`; answers are checked by `check`, which subclasses have.

    A request without a body, on a connection that was used before, of which no byte was answered, may be sent again
    (RFC 9112 9.3.1 and 9.5): the connection was closed while it was idle.
    """

    def __init__(self, server, stop, keep_alive, target="/", body=None):
        super().__init__(daemon=True)
        self.server, self.stop, self.keep_alive, self.target, self.body = server, stop, keep_alive, target, body
        self.done = 0
        self.retried = 0
        self.failures = []

    def begin(self):
        """Called before each request; `check` gets the result."""

    def check(self, answer, begun):
        raise NotImplementedError

    def run(self):
        connection = None
        while not self.stop.is_set():
            try:
                reused = connection is not None
                if connection is None:
                    connection = Connection(("127.0.0.1", self.server.port), timeout=20)
                begun = self.begin()
                answer = self.ask(connection, reused)
                if answer is None:
                    self.retried += 1
                else:
                    assert answer.status == 200, answer
                    self.check(answer, begun)
                    self.done += 1
                if answer is None or not self.keep_alive or answer.header("Connection") == "close":
                    connection.close()
                    connection = None
            except Exception as error:
                self.failures.append(f"{self.target} keep-alive={self.keep_alive}: {type(error).__name__}: {error}")
                if connection:
                    connection.close()
                connection = None
        if connection:
            connection.close()

    def ask(self, connection, reused):
        method = "POST" if self.body is not None else "GET"
        headers = [] if self.keep_alive else [("Connection", "close")]
        try:
            return connection.request(method, self.target, headers, self.body)
        except (Truncated, ConnectionError) as error:
            silent = not connection.buffer and getattr(error, "response", None) is None
            if reused and silent and method == "GET":
                return None
            raise
