"""The application that bench/conformance/probes/ asks, the same file under every server.

The first part of the path names the function that answers: `/ok` is `at_ok`, in one of the rooms below. What an answer
cannot say goes to the file `notes` in the folder CONFORMANCE_FOLDER, one line a note; a probe lets a function go on by
making a file there. Every wait ends by itself, so that no server can be held for long.
"""

import pathlib
import sys

# nginx loads this file by its path, the others as a module. No cache folder among the sources.
sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from conformance.apps import body_blocks, body_close_and_write, body_http, call_and_environ  # noqa: E402
from conformance.apps import file_wrapper, start_response, streams  # noqa: E402
from conformance.apps.tools import KEPT, plain  # noqa: E402

ROOMS = (call_and_environ, streams, start_response, body_blocks, body_close_and_write, body_http, file_wrapper)
FUNCTIONS = {name: function for room in ROOMS for name, function in vars(room).items() if name.startswith("at_")}


def application(*arguments, **named):
    """Takes whatever it is called with: how it was called is one of the questions."""
    environ, start_response = arguments if len(arguments) == 2 else (named["environ"], named["start_response"])
    KEPT["call"] = [len(arguments), sorted(named)]
    # Below a prefix the function is named by a later part of the path.
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    for part in path.split("/"):
        function = FUNCTIONS.get("at_" + part)
        if function:
            return function(environ, start_response)
    start_response("404 Not Found", plain())
    return [b"no such probe\n"]
