"""What is different for Python in a sub-interpreter."""

import importlib.machinery
import sys


_is_here = False


def prepare():
    """Changes what has to be different. To be called once, before any application is imported."""
    global _is_here
    _is_here = True
    # C implementations that keep state in variables of the process, and find there what other interpreters left, freed
    # perhaps: they tell threads by numbers that each interpreter counts for itself. Without them decimal and asyncio
    # are Python code, slower and right.
    if sys.version_info < (3, 13):
        sys.modules["_decimal"] = None
    if sys.version_info < (3, 12):
        sys.modules["_asyncio"] = None
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
    while _is_here and exception is not None and id(exception) not in seen:
        seen.add(id(exception))
        if type(exception) is ImportError and exception.name and "interpreter" in str(exception).lower():
            return exception.name
        exception = exception.__cause__ or exception.__context__
    return None
