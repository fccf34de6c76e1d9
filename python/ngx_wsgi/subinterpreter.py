"""What is different for Python in a sub-interpreter."""

import importlib.machinery
import sys


def prepare():
    """Changes what has to be different. To be called once, before any application is imported."""
    # Up to Python 3.12 the C implementation of decimal keeps its context in a variable that all interpreters share,
    # and finds there the freed contexts of others (it tells them by numbers that each interpreter counts for itself).
    # Without it decimal is Python code, slower and right.
    if sys.version_info < (3, 13):
        sys.modules["_decimal"] = None
    _name_refusals()


def _name_refusals():
    """Makes the ImportError of an extension module tell the module's name, which not all of them do."""
    loader = importlib.machinery.ExtensionFileLoader

    def naming(method, name_of):
        def call(self, argument):
            try:
                return method(self, argument)
            except ImportError as error:
                if error.name is None:
                    error.name = name_of(argument)
                raise

        return call

    loader.create_module = naming(loader.create_module, lambda spec: spec.name)
    loader.exec_module = naming(loader.exec_module, lambda module: module.__name__)


def refused(exception):
    """The name of the extension module whose refusal led to an exception, or None.

    There is no type for it. CPython, PyO3 and Cython all raise ImportError, and all speak of interpreters.
    """
    seen = set()
    while exception is not None and id(exception) not in seen:
        seen.add(id(exception))
        if isinstance(exception, ImportError) and exception.name and "interpreter" in str(exception).lower():
            return exception.name
        exception = exception.__cause__ or exception.__context__
    return None
