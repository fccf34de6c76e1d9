"""The machine: its cores, and who used them."""

import contextlib
import os
import pathlib
import platform
import re

TICK = os.sysconf("SC_CLK_TCK")


def cores(workers=1):
    """(cores of the server, one for each worker; cores of the load generator), apart where that is possible."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) <= workers:
        return set(available), set(available)
    return set(available[:workers]), {available[workers]}


def cpu_model():
    found = re.search(r"model name\s*:\s*(.+)", pathlib.Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else platform.machine()


def busy_time():
    """Seconds of CPU time that everything on this machine has used, time stolen by its host included."""
    fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / TICK


def stats():
    """(pid, its fields in /proc/PID/stat from the state on) of every process."""
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            yield int(stat.parent.name), stat.read_text().rpartition(")")[2].split()


def tree(pid):
    """The process and all that descend from it."""
    parents = {child: int(fields[1]) for child, fields in stats()}
    found = [pid]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found


def of_session(pid):
    """All processes of the session that began with this one."""
    return [member for member, fields in stats() if int(fields[3]) == pid]


def cpu_of(pids):
    """(user, system): seconds of CPU time that these processes have used, with all their threads."""
    user = system = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            user, system = user + int(fields[11]), system + int(fields[12])
    return user / TICK, system / TICK


def pss_of(pids, kind="Pss"):
    """KiB of these processes; what is shared counts in proportion. "Pss_Anon": without what is mapped from files."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            found = re.search(rf"^{kind}:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
            total += int(found.group(1)) if found else 0
    return total


def own_time():
    """CPU time of this process and of the load generators that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
