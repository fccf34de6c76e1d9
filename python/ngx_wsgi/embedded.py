"""Modules that are embedded in nginx's module and imported when somebody wants them."""

import importlib.machinery
import sys


class Embedded:
    """Finds and loads them; sources: pairs of a module's name and its source."""

    def __init__(self, sources):
        self._sources = dict(sources)

    def find_spec(self, name, path=None, target=None):
        if name not in self._sources:
            return None
        return importlib.machinery.ModuleSpec(name, self, origin=_origin(name))

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name = module.__spec__.name
        exec(compile(self._sources[name], _origin(name), "exec"), module.__dict__)

    def get_source(self, name):
        """For tracebacks, by way of linecache."""
        return self._sources.get(name)


def _origin(name):
    return f"<{name.replace('.', '/')}>"


def offer(sources):
    """From now on these modules can be imported, rather than others of the same name."""
    sys.meta_path.insert(0, Embedded(sources))
