"""Import this before NumPy, torch or JAX: one core, and no library starts threads on it."""

import os

CORE = None
USABLE = set()  # before it was pinned
if hasattr(os, "sched_setaffinity"):
    USABLE = os.sched_getaffinity(0)
    CORE = max(USABLE)  # not 0, where interrupts go first
    os.sched_setaffinity(0, {CORE})
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "FASTBP_THREADS"):
    os.environ[name] = "1"
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
