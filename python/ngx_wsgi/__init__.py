"""The Python half of nginx mod_wsgi.

The package exists only inside nginx's processes. The module puts it together from the sources embedded in
it, so that there is nothing to install next to an interpreter.
"""

__path__ = []  # a package, so that its modules can be imported; there is no folder behind it


class Interrupted(BaseException):
    """Raised in an application from outside, to end its work. Not an Exception, so that `except Exception` lets it pass."""


class Timeout(Interrupted):
    """The application runs longer than wsgi_timeout."""


class Disconnected(Interrupted):
    """The client has left, and wsgi_cancel_on_disconnect is on."""
