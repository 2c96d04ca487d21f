"""Which levels this CPU, and the operating system under it, can run."""

cdef extern from "cpu.h":
    int cpu_has_v2()
    int cpu_has_v3()
    int cpu_has_v4()
    int cpu_has_neon()


def supported_levels():
    """Names of the levels that can run here, best first."""
    found = []
    if cpu_has_v4():
        found.append("v4")
    if cpu_has_v3():
        found.append("v3")
    if cpu_has_v2():
        found.append("v2")
    if cpu_has_neon():
        found.append("neon")
    found.append("generic")
    return tuple(found)
