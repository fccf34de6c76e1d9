"""Bytes per second of CPU time: a GiB of 64 KiB blocks from a generator, and as a file without sendfile."""

import os
import statistics

from .load import download
from .rounds import measured, noisy, ratios, rounds_of, shown, spread, used

SIZE = 1 << 30


class Stream:
    name = "stream"
    bound = 0.5
    first = "/hello/module"
    locations = """\
        location = /hello/module {
            wsgi_pass "@HERE@/app.py:hello";
        }
        location = /stream/file {
            sendfile off;
            default_type application/octet-stream;
            alias "@RUN@/stream.bin";
        }
        location /stream/module {
            wsgi_pass "@HERE@/app.py:stream";
        }
"""

    def run(self, server, options):
        with open(server.run / "stream.bin", "wb") as file:
            block = b"0123456789abcdef" * 65536
            for _ in range(SIZE // len(block)):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())  # or writing it out would disturb the first rounds
        paths = {"file": "/stream/file", "chunked": "/stream/module/chunked", "length": "/stream/module/length"}
        buffer = bytearray(1 << 20)

        def load(name):
            return {"bytes": download(server.port, paths[name], SIZE, buffer)}

        def per_second(cell):
            return cell["bytes"] / used(cell)

        for name in paths:
            load(name)
        results = rounds_of(list(paths), options["rounds"], lambda name: measured(server, lambda: load(name)))
        ratio = ratios(results, "chunked", "file", per_second)
        table = ["| stream, 1 GiB | GiB per CPU second | min–max | × file | min–max | CPU s | elapsed s |",
                 "|---|---:|---:|---:|---:|---:|---:|"]
        for name, title in (("file", "nginx, static file, sendfile off"),
                            ("chunked", "the module, 64 KiB blocks, chunked"),
                            ("length", "the module, 64 KiB blocks, Content-Length")):
            cells = results[name]
            own = ratios(results, name, "file", per_second)
            table.append(f"| {title} | {shown([per_second(cell) / (1 << 30) for cell in cells], 2)} | "
                         f"{shown(own, 3)} | {statistics.median(cell['cpu'] for cell in cells):.2f} | "
                         f"{statistics.median(cell['elapsed'] for cell in cells):.2f} |")
        return {"table": table, "results": results, "ratio": spread(ratio), "rounds": ratio, "bound": self.bound,
                "holds": statistics.median(ratio) >= self.bound, "noisy": noisy(results)}
