"""Finds applications: a script by its path or a module by its dotted name, and the callable in it."""

import importlib
import importlib.machinery
import importlib.util
import os
import sys
import threading

from ngx_wsgi import subinterpreter

# Names of modules whose import has failed once.
_failed = set()
# How the files of modules looked before they were read, and what factories in them made; by the module's name.
_stamps = {}
_made = {}
# Held while a module is imported, so that another thread, which may want another callable of it, waits.
_locks = {}
_INTERNAL = ("<ngx_wsgi", "<frozen importlib", importlib.__file__)


def load(script, module, attribute, is_factory, directories, renew):
    """Imports an application and returns it with its file (or None) and the file's stamp (or None).

    script: absolute path of a file, or None.  module: dotted name, used when script is None.
    attribute: dotted path of the callable.  is_factory: call it, once, the result is the application.
    directories: put before sys.path, the first one first.
    renew: the file may have changed; it is read again then.

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
    # Reentrant: a factory may come back here.
    with _locks.setdefault(name, threading.RLock()):
        return _load(name, script, module, attribute, is_factory, renew)


def _load(name, script, module, attribute, is_factory, renew):
    """The part of load() that one thread does at a time."""
    file = _file_of(module) if script is None else script
    # Taken before the file is read: a change meanwhile is to be noticed.
    stamp = _stamp(file)
    if renew and stamp is not None and _stamps.setdefault(name, stamp) != stamp:
        sys.modules.pop(name, None)
    is_new = name not in sys.modules
    try:
        if is_new:
            _forget(name)
        found = _import(name, file, script is not None, renew)
        if is_new:
            _stamps[name] = stamp
        return _find(found, name, attribute, is_factory, script or module), file, stamp
    except BaseException:
        # The next attempt is to see the file as it is then.
        if is_new:
            sys.modules.pop(name, None)
            _forget(name)
        _failed.add(name)
        raise


def _forget(name):
    _stamps.pop(name, None)
    _made.pop(name, None)


def _file_of(module):
    """The file of a module that may not have been imported yet, or None."""
    try:
        spec = importlib.util.find_spec(module)
    except ValueError:
        # Made by hand, without a spec.
        return None
    return spec.origin if spec is not None and spec.has_location else None


def _stamp(file):
    """What changes when a file is edited: modification time in nanoseconds, size, inode."""
    try:
        stat = os.stat(file)
    except (OSError, TypeError):
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _find(module, name, attribute, is_factory, source):
    """The callable in a module; for a factory, what it makes."""
    found = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise AttributeError(f'no callable "{attribute}" in {source}') from None
    if not callable(found):
        raise TypeError(f'"{attribute}" in {source} is {_kind(found)}, not a callable')
    if is_factory:
        made = _made.setdefault(name, {})
        if attribute not in made:
            made[attribute] = found()
        found = made[attribute]
        if not callable(found):
            raise TypeError(f'"{attribute}()" in {source} returned {_kind(found)}, not a callable')
    return found


def _script_name(path):
    """The name of the module of a script."""
    # What tells one source from another to the import system; hashlib would bring OpenSSL's part of Python along.
    return "_wsgi_" + importlib.util.source_hash(os.fsencode(path)).hex()


class _SourceOnly(importlib.machinery.SourceFileLoader):
    """A loader that does not trust the bytecode cache, as Python itself does not for the script it runs.

    The cache is told from the source by size and whole seconds; a quick edit may change neither.
    """

    def get_code(self, fullname):
        return self.source_to_code(self.get_data(self.path), self.path)


def _import(name, file, is_script, is_watched):
    """The module of this name, imported once however many locations want it."""
    if name in sys.modules:
        return sys.modules[name]
    if is_script:
        # Named explicitly, because the file need not end in .py.
        spec = importlib.util.spec_from_file_location(name, file, loader=_SourceOnly(name, file))
    else:
        spec = importlib.util.find_spec(name) if is_watched or name in _failed else None
        if spec is None or type(spec.loader) is not importlib.machinery.SourceFileLoader:
            return importlib.import_module(name)
        spec.loader = _SourceOnly(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # What the import system does for parent and child. Submodules stay as they are when a package is read again.
    for child in list(sys.modules):
        if child.rpartition(".")[0] == name and sys.modules[child] is not None:
            setattr(module, child.rpartition(".")[2], sys.modules[child])
    spec.loader.exec_module(module)
    package, _, child = name.rpartition(".")
    if package:
        setattr(sys.modules[package], child, module)
    return module


def describe(exception):
    """What to log of an exception: a line that sums it up, the lines of its traceback, whether it is a refusal."""
    kind = type(exception)
    try:
        text = str(exception)
    except Exception:
        text = "<the exception cannot be printed>"
    summary = f"{kind.__qualname__}: {text}" if text else kind.__qualname__
    refused = subinterpreter.refused(exception)
    if refused is not None:
        summary = (
            f'the extension module "{refused}" refuses sub-interpreters; '
            f'use "wsgi_use_main_interpreter on" for this application ({summary})'
        )
    frames = exception.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_INTERNAL):
        frames = frames.tb_next
    summary = " ".join(summary.split())
    return summary, _traceback(exception, frames) or _frames(frames, summary), refused is not None


def _traceback(exception, frames):
    """The lines of a traceback, None if there is no making them."""
    try:
        # Imported here, because nearly no worker ever needs it before something fails. That may be for want of the
        # descriptors or the memory which an import takes too.
        import traceback

        return "".join(traceback.format_exception(type(exception), exception, frames)).splitlines()
    except Exception:
        return None


def _frames(frames, summary):
    """The lines of a traceback as far as nothing has to be read for them."""
    lines = ["Traceback (most recent call last):"] if frames is not None else []
    while frames is not None:
        code = frames.tb_frame.f_code
        lines.append(f'  File "{code.co_filename}", line {frames.tb_lineno}, in {code.co_name}')
        frames = frames.tb_next
    return [*lines, summary]


def _kind(value):
    kind = type(value).__name__
    return "None" if value is None else f"an {kind}" if kind[0] in "aeiouAEIOU" else f"a {kind}"
