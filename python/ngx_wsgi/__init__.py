"""The Python half of nginx mod_wsgi.

The package exists only inside nginx's processes. The module puts it together from the sources embedded in
it, so that there is nothing to install next to an interpreter.
"""

__path__ = []  # a package, so that its modules can be imported; there is no folder behind it
