"""The machine: its cores, and who used them."""

import os
import pathlib
import platform
import re

TICK = os.sysconf("SC_CLK_TCK")


def cores():
    """(cores of the server, cores of the load generator), apart where that is possible."""
    available = sorted(os.sched_getaffinity(0))
    return ({available[0]}, {available[1]}) if len(available) > 1 else (set(available), set(available))


def cpu_model():
    found = re.search(r"model name\s*:\s*(.+)", pathlib.Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else platform.machine()


def busy_time():
    """Seconds of CPU time that everything on this machine has used, time stolen by its host included."""
    fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / TICK


def process_time(pid):
    """That of one process, with all its threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def own_time():
    """CPU time of this process and of the load generators that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
