"""write() between the items of a generator over HTTP/2: one temporary file is used again and again."""

from harness.apps import notes, serve


def test_descriptors_do_not_pile_up(nginx):
    server = serve(nginx, """
        def at_rounds(environ, start_response):
            write = start_response("200 OK", PLAIN)
            def blocks():
                for number in range(300):
                    write(b"%09d" % number * 1000)
                    yield b""
                note(len(os.listdir("/proc/self/fd")))
            before = len(os.listdir("/proc/self/fd"))
            note(before)
            return blocks()
        """, h2c=True)
    answer = server.h2().request("GET", "/rounds")
    assert answer.body == b"".join(b"%09d" % number * 1000 for number in range(300))
    before, after = map(int, notes(server))
    assert after - before <= 2
