"""What must not have happened: memory that grows, threads, descriptors or connections that stay, wrong answers."""

import collections
import statistics

from harness.nginx import alive, open_fds, wait_for

from .samples import of_process

# How much more a worker may have at the end than after the warm-up. Fragments of the heap come and go.
MIB = 2
SHARE = 0.04


def resting(values):
    """What a process has when little goes on: the requests of a moment come on top of that."""
    return sorted(values)[len(values) // 5]


def settle(server, stop_old=45):
    """Waits until the visitors are forgotten: no connection, no old worker. What is left over."""
    problems = []
    for what, quiet in (("connections", lambda: server.status()["active"] == 1),
                        ("old workers", lambda: len(server.all_children()) == server.workers_wanted)):
        try:
            wait_for(quiet, "", stop_old)
        except AssertionError:
            problems.append(f"{server.name}: {what} stay: {server.status()}, {server.all_children()}")
    return problems


def left_open(server, before):
    """Descriptors that a worker did not have before the first visitor; `before` is {pid: descriptors}."""
    problems = []
    for pid in set(before) & set(server.workers()):
        def more(pid=pid):
            have = collections.Counter(open_fds(pid).values()) - collections.Counter(before[pid].values())
            return {target: count for target, count in have.items() if not target.startswith("/dev/")}
        try:
            wait_for(lambda: not more(), "", 5)
        except AssertionError:
            about = {target: connection_of(target) for target in more()}
            problems.append(f"{server.name}: worker {pid} holds descriptors: {more()} {about}")
    return problems


def connection_of(target):
    """What the kernel knows of a "socket:[inode]"."""
    inode = target.partition("[")[2].rstrip("]")
    for table in ("tcp", "tcp6", "unix"):
        with open(f"/proc/net/{table}") as file:
            for line in file:
                if inode and inode in line.split():
                    return f"{table} {' '.join(line.split()[:6])}"
    return "unknown"


def not_closed(server):
    """Iterables that the application opened and nobody closed."""
    return [f"{server.name}: worker {pid} has opened {opened} iterables and closed {closed}"
            for pid, (opened, closed) in server.counts().items() if opened != closed]


def growth(samples, name, warm, end):
    """(table rows, problems) of a server: memory after the warm-up and at the end.

    Processes that live long enough are compared with themselves; of workers that come and go, the sizes which they
    have from the age of ten seconds on, in the first half and in the second.
    """
    rows, problems = [], []
    mine = [one for one in samples if one.server == name and one.second >= warm]
    for pid in dict.fromkeys(one.pid for one in mine if one.role != "old worker"):
        own = [one for one in mine if one.pid == pid]
        if own[0].second > warm + 0.1 * (end - warm) or own[-1].second < end - 0.1 * (end - warm):
            continue
        cut = (end - warm) / 4
        before = resting([one.rss_kib for one in own if one.second < warm + cut])
        after = resting([one.rss_kib for one in own if one.second > end - cut])
        rows.append((f"{name}, {own[0].role} {pid}", before, after))
        if after - before > max(MIB * 1024, SHARE * before):
            problems.append(f"{name}: {own[0].role} {pid} grew from {before / 1024:.1f} to {after / 1024:.1f} MiB")
    sizes = collections.defaultdict(list)
    for one in mine:
        if one.role == "worker" and one.age >= 10:
            sizes[one.pid].append(one)
    passing = [own for own in sizes.values() if f"{name}, worker {own[0].pid}" not in {row[0] for row in rows}]
    halves = [[resting([one.rss_kib for one in own]) for own in passing if (own[0].second < (warm + end) / 2) == early]
              for early in (True, False)]
    if all(halves):
        before, after = map(statistics.median, halves)
        rows.append((f"{name}, {len(passing)} workers in turn", before, after))
        if after - before > max(MIB * 1024, SHARE * before):
            problems.append(f"{name}: later workers are larger, {before / 1024:.1f} and {after / 1024:.1f} MiB")
    return rows, problems


def threads(samples, server, warm):
    """No worker may end with more threads than the warm-up has seen."""
    known = [one.threads for one in samples if one.server == server.name and one.role == "worker" and one.second < warm]
    problems, most = [], max(known, default=0)
    for pid in server.workers():
        seen = of_process(pid)
        if seen and seen[1] > most:
            problems.append(f"{server.name}: worker {pid} has {seen[1]} threads, after the warm-up it was {most}")
    return most, problems


def gone(pids):
    """Processes that should have ended."""
    return [f"process {pid} is still there" for pid in pids if alive(pid)]
