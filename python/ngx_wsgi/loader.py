"""Finds applications: a script by its path or a module by its dotted name, and the callable in it."""

import hashlib
import importlib
import importlib.machinery
import importlib.util
import os
import sys

# Names of modules whose import has failed once.
_failed = set()
_INTERNAL = ("<ngx_wsgi", "<frozen importlib")


def load(script, module, attribute, is_factory, directories):
    """Imports an application and returns its callable.

    script: absolute path of a file, or None.  module: dotted name, used when script is None.
    attribute: dotted path of the callable.  is_factory: call it, the result is the application.
    directories: put before sys.path, the first one first.

    Raises whatever the import or the factory raises, AttributeError if there is no such callable,
    TypeError if what was found cannot be called.
    """
    if script is not None:
        directories = [*directories, os.path.dirname(script)]
    for directory in reversed(directories):
        if directory not in sys.path:
            sys.path.insert(0, directory)
    importlib.invalidate_caches()
    name = module if script is None else _script_name(script)
    is_new = name not in sys.modules
    try:
        found = importlib.import_module(name) if script is None else _import_script(name, script)
        return _find(found, attribute, is_factory, script or module)
    except BaseException:
        # The next attempt is to see the file as it is then.
        if is_new:
            sys.modules.pop(name, None)
        _failed.add(name)
        raise


def _find(found, attribute, is_factory, source):
    """The callable in a module; for a factory, what it makes."""
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise AttributeError(f'no callable "{attribute}" in {source}') from None
    if not callable(found):
        raise TypeError(f'"{attribute}" in {source} is {_kind(found)}, not a callable')
    if is_factory:
        found = found()
        if not callable(found):
            raise TypeError(f'"{attribute}()" in {source} returned {_kind(found)}, not a callable')
    return found


def _script_name(path):
    """The name of the module of a script."""
    return "_wsgi_" + hashlib.blake2b(os.fsencode(path), digest_size=8).hexdigest()


class _SourceOnly(importlib.machinery.SourceFileLoader):
    """A loader that does not trust the bytecode cache.

    The cache is told from the source by size and whole seconds; a quick repair may change neither.
    """

    def get_code(self, fullname):
        return self.source_to_code(self.get_data(self.path), self.path)


def _import_script(name, path):
    """The module of the script at path, imported once however many locations name it."""
    if name in sys.modules:
        return sys.modules[name]
    # Named explicitly, because the file need not end in .py.
    kind = _SourceOnly if name in _failed else importlib.machinery.SourceFileLoader
    file_loader = kind(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=file_loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def describe(exception):
    """What to log of an exception: one line that sums it up, and the lines of its traceback."""
    # Imported here, because nearly no worker ever needs it before something fails.
    import traceback

    kind = type(exception)
    try:
        text = str(exception)
    except Exception:
        text = "<the exception cannot be printed>"
    summary = f"{kind.__qualname__}: {text}" if text else kind.__qualname__
    frames = exception.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_INTERNAL):
        frames = frames.tb_next
    lines = "".join(traceback.format_exception(kind, exception, frames)).splitlines()
    return " ".join(summary.split()), lines


def _kind(value):
    return "None" if value is None else f"a {type(value).__name__}"
