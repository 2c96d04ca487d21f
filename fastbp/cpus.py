"""How many threads a call may use."""

import math
import os

MOST_THREADS = 128


def usable():
    """CPUs that this process may run on: its affinity, and what a control group allows it."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        count = os.cpu_count() or 1
    return max(1, math.ceil(min(count, quota())))


def quota(root="/sys/fs/cgroup", membership="/proc/self/cgroup"):
    """CPUs that the control groups (version 2) of this process allow, infinite where they do not limit them."""
    least = math.inf
    try:
        with open(membership) as file:
            group = file.read().rsplit("0::/", 1)[1].split("\n", 1)[0]
    except (OSError, IndexError):
        return least
    names = group.strip("/").split("/")
    for depth in range(len(names), -1, -1):
        try:
            with open(os.path.join(root, *names[:depth], "cpu.max")) as file:
                limit, period = file.read().split()
            if limit != "max":
                least = min(least, int(limit) / int(period))
        except (OSError, ValueError):
            pass  # a group without a limit, as the root's
    return least


def default_threads():
    """FASTBP_THREADS where that is set, else all usable CPUs."""
    wanted = os.environ.get("FASTBP_THREADS")
    if not wanted:
        return min(usable(), MOST_THREADS)
    if not wanted.isdecimal() or not 1 <= int(wanted) <= MOST_THREADS:
        raise ValueError(f"FASTBP_THREADS: expected a whole number from 1 to {MOST_THREADS}, got {wanted!r}")
    return int(wanted)
