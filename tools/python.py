"""Looks at the interpreter that runs it: can the module be built for it?

Prints "usable" if it can, otherwise one sentence. It has to run under any Python, even Python 2.
"""

import os
import sys
import sysconfig


def problem():
    name = "Python %d.%d (%s)" % (sys.version_info[0], sys.version_info[1], sys.executable)
    if getattr(getattr(sys, "implementation", None), "name", "cpython") != "cpython":
        return name + " is not CPython: set PYTHON to a CPython 3.9 or newer."
    if sys.version_info[:2] < (3, 9):
        return name + " is too old for this module: set PYTHON to a Python 3.9 or newer."
    if sys.version_info[:2] > (3, 15):
        return name + " is newer than PyO3 0.30 knows: set PYTHON to a Python between 3.9 and 3.15."
    var = sysconfig.get_config_var
    if var("Py_GIL_DISABLED"):
        return name + " is a free-threaded build: set PYTHON to one with the usual lock."
    if not var("Py_ENABLE_SHARED"):
        return (
            name + " has no shared libpython, and the module cannot use a static one: install a "
            "Python configured with --enable-shared (with pyenv: "
            "PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install %d.%d)." % sys.version_info[:2]
        )
    library = "libpython" + var("LDVERSION") + ".so"
    folders = [var("LIBDIR") or "", os.path.join(var("LIBDIR") or "", var("MULTIARCH") or "")]
    if sys.platform.startswith("linux"):
        if not any(os.path.exists(os.path.join(folder, library)) for folder in folders):
            return (
                name + " is installed without " + library + ": install its development package "
                "(Debian: make deps, or apt-get install python3-dev)."
            )
    return None


print(problem() or "usable")
