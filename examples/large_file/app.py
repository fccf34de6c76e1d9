"""Sends a file of 64 MiB through `wsgi.file_wrapper`: nginx sends it by itself, Python only opens it."""

import os
import tempfile

SIZE = 64 * 1024 * 1024
FOLDER = os.environ.get("EXAMPLES_RUN") or tempfile.gettempdir()
PATH = os.path.join(FOLDER, "large_file.bin")


def make_file():
    """Random bytes, repeated. Written under another name first, because several workers start at the same time."""
    block = os.urandom(1024 * 1024)
    part = f"{PATH}.{os.getpid()}"
    with open(part, "wb") as file:
        for _ in range(SIZE // len(block)):
            file.write(block)
    os.replace(part, PATH)


# When the application is imported, before the worker serves: in a request it would keep other clients waiting.
if not os.path.exists(PATH):
    make_file()


class Blocks:
    """What PEP 3333 suggests for servers without wsgi.file_wrapper."""

    def __init__(self, file, size=64 * 1024):
        self.read = lambda: file.read(size)
        self.close = file.close

    def __iter__(self):
        return iter(self.read, b"")


def application(environ, start_response):
    file = open(PATH, "rb")
    start_response("200 OK", [
        ("Content-Type", "application/octet-stream"),
        ("Content-Length", str(os.fstat(file.fileno()).st_size)),
        ("Content-Disposition", 'attachment; filename="large_file.bin"'),
    ])
    # The server closes the file after the last byte, or when the client goes away.
    return environ.get("wsgi.file_wrapper", Blocks)(file)
