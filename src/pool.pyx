"""The worker threads of this process, shared by all networks, levels and dtypes (workers.h)."""

from cpython.pycapsule cimport PyCapsule_New

cdef extern from "workers.h" nogil:
    const char *POOL_NAME
    ctypedef struct Pool:
        int (*enter)(int threads) noexcept nogil
        void (*leave)(int threads) noexcept nogil
    const Pool pool_table "pool"
    int n_workers
    long parts_offered
    int prepare_pool() noexcept

if prepare_pool() != 0:
    raise MemoryError("no memory for the thread pool")

pool = PyCapsule_New(<void *>&pool_table, POOL_NAME, NULL)


def enter(int threads):
    """What kernels do before work in parts: returns how many threads they may use. Tests keep the workers busy so."""
    return pool_table.enter(threads)


def leave(int threads):
    """Ends what `enter` began, with what it returned."""
    pool_table.leave(threads)


def workers():
    """Threads started so far."""
    return n_workers


def offered():
    """Parts of regions that were offered to workers so far; whether they get to them is up to the system."""
    return parts_offered
