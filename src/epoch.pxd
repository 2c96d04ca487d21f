# One network's way through the rows of an epoch: what it takes and how far it has come.

from simd cimport real
from plan cimport Plan
from data cimport Data
from optimizers cimport Optimizer
from narrow cimport Late

cdef enum:
    WORK_BETWEEN_LOOKS = 200000     # multiply-adds between two looks at the clock: some 10 microseconds

cdef struct Epoch:
    Data data
    long rows
    long batch_size
    long work               # multiply-adds of a step, per row
    Plan *plan              # with the arena: of the workspace at hand
    real *arena
    Optimizer *optimizer
    real *parameters
    real *gradient
    long n                  # parameters, padded to whole vectors
    long n_first            # numbers of optimizer.first, padded as well
    bint masked             # targets may be missing
    const double *rates     # a learning rate for each step, or NULL: that of the optimiser
    bint continued          # the steps before were those of this epoch: the optimiser's bounds hold
    Late late               # losses that are to be told yet
    const long *waiting     # readers who would like to come in
    # how far it has come
    long first              # row of the next step; of the refused one where not fine
    double total            # sum over rows of the losses of their batches
    long present            # elements with a target, where some may be missing
    bint fine               # no step was refused
