"""The Python half of nginx mod_wsgi."""

class Interrupted(BaseException):
    """Raised in an application from outside, to end its work. Not an Exception, so that `except Exception` lets it pass."""

class Timeout(Interrupted):
    """The application runs longer than wsgi_timeout."""

class Disconnected(Interrupted):
    """The client has left, and wsgi_cancel_on_disconnect is on."""
