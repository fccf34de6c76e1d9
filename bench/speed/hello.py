"""CPU time per request: 13 bytes through the module, and by `return 200` of the same worker.

Three benchmarks, each with a server of its own, because an application has one pool of threads: called by the event
loop (hello), by one thread (threads1), by eight (threads8).
"""

import statistics

from .rounds import measured, middle, noisy, ratios, rounds_of, shown, spread, used

LOCATIONS = """\
        location = /hello/return {{
            return 200 "Hello, World!";
        }}
        location = /hello/module {{
            {how}
            wsgi_pass "@HERE@/app.py:hello";
        }}
"""


class Hello:
    """`threads`: 0 is inline. `bound`: how many times the CPU time of `return 200` it may be."""

    first = "/hello/module"

    def __init__(self, name, threads, bound):
        self.name, self.threads, self.bound = name, threads, bound
        self.locations = LOCATIONS.format(how=f"wsgi_threads {threads};" if threads else "")

    def run(self, server, options):
        contenders = ["return", "module"]
        for name in contenders:
            server.expect(f"/hello/{name}", b"Hello, World!")

        def load(name, seconds):
            return options["load"](server.url(f"/hello/{name}"), options["connections"], seconds)

        def per_request(cell):
            return used(cell) / cell["requests"] * 1e6

        for name in contenders:
            load(name, 1)
        results = rounds_of(contenders, options["rounds"],
                            lambda name: measured(server, lambda: load(name, options["seconds"])))
        ratio = ratios(results, "module", "return", per_request)
        how = f"the module, {self.threads} thread{'s'[:self.threads > 1]}" if self.threads else "the module, inline"
        table = [f"| {self.name}, 13 bytes | CPU µs/request | min–max | × return 200 | min–max | requests/s | p50 µs "
                 "| p99 µs |",
                 "|---|---:|---:|---:|---:|---:|---:|---:|"]
        for name, title in (("return", "nginx, `return 200`"), ("module", how)):
            cells = results[name]
            speed = statistics.median(cell["requests"] / cell["seconds"] for cell in cells)
            own = ratio if name == "module" else [1.0] * len(cells)
            table.append(f"| {title} | {shown([per_request(cell) for cell in cells], 2)} | {shown(own, 3)} | "
                         f"{speed:,.0f} | {middle(cells, 'p50_us')} | {middle(cells, 'p99_us')} |")
        return {"table": table, "results": results, "ratio": spread(ratio), "rounds": ratio, "bound": self.bound,
                "holds": statistics.median(ratio) <= self.bound, "noisy": noisy(results)}
