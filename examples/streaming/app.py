"""Draws the Mandelbrot set row by row. Each row is one block of the response, and is computed when it is asked for.

nginx asks for the next block when the kernel has taken the previous one. Here `limit_rate` in nginx.conf makes it
take its time: the generator simply rests between two rows, and neither a thread nor the event loop waits for it.
Never call time.sleep() in a place like this: an inline application runs in nginx's event loop, and while it sleeps
the worker serves nobody.
"""

import time

WIDTH, HEIGHT, DEPTH = 78, 40, 60
SHADES = " .:-=+*%#@"


def application(environ, start_response):
    start_response("200 OK", [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Cache-Control", "no-store"),
        # Without it a browser waits for the first kilobyte, to guess what the text might be.
        ("X-Content-Type-Options", "nosniff"),
    ])
    return rows()


def rows():
    started = time.monotonic()
    try:
        for number in range(HEIGHT):
            seconds = time.monotonic() - started
            yield f"{row(number)} {seconds:6.2f} s\n".encode()
    finally:
        # close() runs this also when the client goes away in the middle.
        print(f"streaming: ended after {time.monotonic() - started:.2f} s")


def row(number):
    """One line of the picture; computing it takes well under a millisecond."""
    y = 2.4 * number / (HEIGHT - 1) - 1.2
    return "".join(shade(complex(3.0 * column / (WIDTH - 1) - 2.1, y)) for column in range(WIDTH))


def shade(c):
    z = 0j
    for step in range(DEPTH):
        z = z * z + c
        if abs(z) > 2:
            return SHADES[step % (len(SHADES) - 1)]
    return SHADES[-1]
