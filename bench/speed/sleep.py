"""An application that waits 10 ms, in 64 threads of one worker, and a static file beside it.

64 requests at a time could be 6,400 a second; the ratio is the share of that. Meanwhile a visitor asks the same worker
for a small file at a steady pace. He does so too while nothing else goes on, and while nginx gives as many answers by
itself (`return 200` to 64 connections that rest for 10 ms): beside that the file's 99th percentile is to stay.
"""

import concurrent.futures
import statistics
import time

from .load import Visitor, load_by_wrk, paced_by_wrk
from .rounds import measured, middle, noisy, ratios, rounds_of, shown, spread, used
from .settings import HERE

THREADS = 64
MOST = THREADS / 0.01
# One visit each 2 ms tells enough and is no load.
PACE = 0.002
# How much later than beside nginx's own answers the file may come, in microseconds. Threads and nginx share one core
# here, so it waits for a turn now and then; if it waited for one request, that would be ten times as long.
LATER = 1000


class Sleep:
    name = "sleep"
    bound = 0.9
    first = "/hello"
    locations = f"""\
        location = /hello {{
            return 200 "Hello, World!";
        }}
        location = /sleep/module {{
            wsgi_threads {THREADS};
            wsgi_pass "@HERE@/app.py:sleep";
        }}
        location = /sleep/file {{
            alias "@HERE@/wrk.lua";
        }}
"""

    def run(self, server, options):
        body = (HERE / "wrk.lua").read_bytes()
        server.expect("/sleep/file", body)
        server.expect("/sleep/module", b"Hello, World!")

        def visit(seconds):
            visitor = Visitor(server.port, "/sleep/file", body, PACE, seconds)
            visitor.start()
            return visitor.result()

        def beside(load, path, seconds):
            # The visitor comes when all threads are busy, and leaves while they still are.
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                load = pool.submit(load, server.url(path), THREADS, seconds + 1)
                time.sleep(0.5)
                return {**alone(seconds), **load.result()}

        def alone(seconds):
            return {f"file_{key}": value for key, value in visit(seconds).items()}

        works = {"alone": alone, "during": lambda seconds: beside(options["load"], "/sleep/module", seconds)}
        reference = "alone"
        if options["load"] is load_by_wrk:
            works["nginx"] = lambda seconds: beside(paced_by_wrk, "/hello", seconds)
            reference = "nginx"
        works["during"](1)
        results = rounds_of(list(works), options["rounds"],
                            lambda name: measured(server, lambda: works[name](options["seconds"])))
        cells = results["during"]
        share = [cell["requests"] / cell["seconds"] / MOST for cell in cells]
        late = ratios(results, "during", reference, lambda cell: cell["file_p99_us"])
        table = [f"| sleep, 10 ms, {THREADS} threads | requests/s | min–max | of {MOST:,.0f} | min–max "
                 "| CPU µs/request | p50 ms | p99 ms |",
                 "|---|---:|---:|---:|---:|---:|---:|---:|",
                 f"| the module | {shown([cell['requests'] / cell['seconds'] for cell in cells], 0)} | "
                 f"{shown(share, 3)} | {statistics.median(used(cell) / cell['requests'] * 1e6 for cell in cells):.1f} | "
                 f"{self.milliseconds(cells, 'p50_us')} | {self.milliseconds(cells, 'p99_us')} |",
                 "",
                 "| static file | p50 µs | p99 µs | min–max | longest ms | other requests/s | their CPU µs |",
                 "|---|---:|---:|---:|---:|---:|---:|"]
        for name, title in (("alone", "alone"), ("nginx", "beside `return 200`"), ("during", "beside sleep")):
            if name in results:
                table.append(self.row(title, results[name]))
        later = statistics.median(there["file_p99_us"] - here["file_p99_us"]
                                  for there, here in zip(results["during"], results[reference]))
        return {"table": table, "results": results, "ratio": spread(share), "rounds": share, "bound": self.bound,
                "static": {"ratio": spread(late), "later_us": later, "bound_us": LATER},
                "holds": statistics.median(share) >= self.bound and later <= LATER, "noisy": noisy(results)}

    @staticmethod
    def row(title, cells):
        asked = [cell["requests"] / cell["seconds"] for cell in cells if "requests" in cell]
        cost = [used(cell) / cell["requests"] * 1e6 for cell in cells if "requests" in cell]
        return (f"| {title} | {middle(cells, 'file_p50_us')} | {shown([cell['file_p99_us'] for cell in cells], 0)} | "
                f"{max(cell['file_max_us'] for cell in cells) / 1000:.1f} | "
                + (f"{statistics.median(asked):,.0f} | {statistics.median(cost):.1f} |" if asked else "– | – |"))

    @staticmethod
    def milliseconds(cells, key):
        return f"{statistics.median(cell[key] for cell in cells) / 1000:.1f}" if key in cells[0] else "–"
