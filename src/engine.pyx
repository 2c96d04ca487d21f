"""The door of the compiled core: arrays come in and are checked once, memory is owned here, the GIL is let go.

One module of this source exists per level and dtype. Python's side (fastbp/network.py) converts data and words the errors;
what is checked here again is what memory safety rests on.
"""

import os as _os

from . import _pool

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.pythread cimport PyThread_type_lock, PyThread_acquire_lock, PyThread_release_lock, WAIT_LOCK
from libc.math cimport INFINITY
from libc.string cimport memcpy, memset

from activations cimport apply_h
from backward cimport through_activation
from between cimport backward_between, forward_between, weights_between
from block cimport Block, block_backward, block_forward, make_block, take_weights
from clock cimport Clock, N_PHASES, seconds_now
from data cimport Data, finite_in_parts, per_row, present_targets, take_inputs, take_targets
from epoch cimport WORK_BETWEEN_LOOKS, Epoch
from jacobian cimport NEVER_FEW, Walk, goes_up, walk_rows
from lane_step cimport train_lanes
from lanes cimport Lanes, LaneLayer, lane_rows, place_lanes
from names cimport ADAGRAD, ADAMW, BATCH_NORM, DENSE, DROPOUT, GIVEN_DELTA, LAYER_NORM
from narrow cimport is_narrow, load_narrow, narrow_step, store_narrow
from losses cimport loss_and_delta, masked_sweep
from online cimport load_rows, online_step, store_rows, trains_by_row
from optimizers cimport Optimizer, chunk_size, largest, numbers_of_first, numbers_of_second, numbers_of_third
from pack cimport unpack_rows
from penalties cimport prepares_gradient
from plan cimport CACHE_LINE, FEW_ROWS, RED_ZONE, Layer, Plan, block_rows, blocks, least, make_plan
from shuffle cimport shuffled_rows
from simd cimport REAL_BITS, VL, real
from step cimport Update, batch_gradient, batch_loss, train_step
from tangent cimport Tangent, tangent_pass
from team cimport POOL_NAME, Pool
from trace cimport record_pass, record_size

cdef extern from *:
    """
    #include <time.h>
    static void wait_a_little(void)
    {
        const struct timespec t = {0, 20000};
        nanosleep(&t, NULL);
    }
    """
    void wait_a_little() noexcept nogil
    const char *LEVEL "FASTBP_LEVEL"
    const char *FLAGS "FASTBP_FLAGS"

cdef const Pool *pool = <const Pool *>PyCapsule_GetPointer(_pool.pool, POOL_NAME)

cdef enum:
    WORK_PER_THREAD = 2000000       # multiply-adds that make another thread worth its while: some 50 microseconds
    WORK_WITHOUT_GIL = 50000        # below, a call keeps the GIL: to win it back can take longer than the call

cdef double SECONDS_BETWEEN_SIGNALS = 0.025

include "buffers.pxi"
include "scratch.pxi"
include "epoch.pxi"


def level():
    return LEVEL.decode()


def dtype():
    return "float32" if REAL_BITS == 32 else "float64"


def build_flags():
    return FLAGS.decode()


def lanes():
    """Numbers of a vector: how many networks go side by side in train_many."""
    return VL


cdef long forks = 0     # how often this process is a child of the one that imported fastbp


def _count_fork():
    global forks
    forks += 1


if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(after_in_child=_count_fork)


cdef double masked_loss(const Plan *plan, const real *arena, long row, long rows, real *delta) noexcept nogil:
    """masked_sweep once, for all who ask for a loss."""
    return masked_sweep(plan, arena, row, rows, delta)


cdef double loss_of_first_row(const Plan *plan, const real *arena, real *delta) noexcept nogil:
    """loss_and_delta of one row, for which the compiler leaves most of it out."""
    return loss_and_delta(plan, arena, 0, 1, delta)


cdef Data only_inputs(const real *x) noexcept nogil:
    cdef Data data
    data.x = x
    data.targets = NULL
    data.labels = NULL
    data.weights = NULL
    data.order = NULL
    return data


cdef class Engine:
    """A network: parameters, gradient and optimiser state, and everything that is computed with them.

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, the inputs first.
    activations, biases : sequences of int, one per weight layer
        Codes of names.pxd; whether there is a bias.
    loss : int
        Code of names.pxd.
    loss_parameter : float
        delta of Huber, q of the quantile loss, label smoothing of cross-entropy.
    from_logits : bool
        The loss is computed from y of the last layer, before its activation.
    kinds : sequence of int, optional
        Codes of names.pxd, one per layer; None: all are Dense.
    settings : sequence of (float, float), optional
        For each layer p or eps, and the momentum of a batch norm.
    """
    cdef readonly Buffer parameters
    cdef readonly Buffer running    # statistics of the batch norms: for each its means, then its variances
    cdef Buffer gradient
    cdef readonly Buffer first
    cdef readonly Buffer second
    cdef readonly Buffer third
    cdef Optimizer optimizer
    cdef Scratch own            # None while a call works in it
    cdef Scratch tangents       # of `hvp`, likewise; None before the first
    cdef readonly long n_inputs
    cdef readonly long n_outputs
    cdef readonly long n_parameters
    cdef readonly unsigned long long mask_key   # of dropout's masks
    cdef readonly unsigned long long draws      # steps that drew masks so far
    cdef bint all_dense
    cdef long n_running
    cdef tuple recipe
    cdef bint masked            # targets may be missing
    cdef Clock *clock           # NULL but in `profile`
    cdef int threads            # that a call may use
    cdef long work              # multiply-adds of a step, per row
    cdef bint goes_up           # jacobian.pxd
    # many calls may read the parameters at once, one writes them; see `enter` and `write_begin`
    cdef PyThread_type_lock gate
    cdef long readers, waiting
    cdef bint writing
    cdef long generation        # `forks` when the four above were last known to be right

    def __cinit__(self, sizes, activations, biases, int loss, double loss_parameter, bint from_logits, kinds=None,
                  settings=None):
        self.gate = take_lock()
        if self.gate == NULL:
            raise MemoryError("no memory for a lock")
        self.generation = forks
        self.recipe = (tuple(sizes), tuple(activations), tuple(biases), loss, loss_parameter, from_logits, kinds, settings)
        self.n_inputs = sizes[0]
        self.n_outputs = sizes[len(sizes) - 1]
        self.own = self.new_scratch()
        self.all_dense = self.own.plan.all_dense
        self.running = Buffer(self.n_running)
        self.own.plan.running = self.running.data
        self.n_parameters = self.own.plan.n_parameters
        self.parameters = Buffer(self.n_parameters)
        self.work = 3 * self.n_parameters
        self.goes_up = goes_up(&self.own.plan)
        self.threads = 1

    def __dealloc__(self):
        if self.gate != NULL:
            give_lock_back(self.gate)

    cdef Scratch new_scratch(self):
        sizes, activations, biases, loss, loss_parameter, from_logits, kinds, settings = self.recipe
        cdef Scratch scratch = Scratch(len(activations))
        cdef Plan *plan = &scratch.plan
        cdef Layer *layer
        cdef long offset = 0, running = 0
        cdef int l
        plan.loss = loss
        plan.loss_parameter = <double>loss_parameter    # straight to `real` would go through float in both dtypes
        plan.from_logits = from_logits
        plan.all_dense = True
        plan.apply_h = &apply_h
        plan.through_activation = &through_activation
        plan.forward_between = &forward_between
        plan.weights_between = &weights_between
        plan.backward_between = &backward_between
        if self.running is not None:
            plan.running = self.running.data
        plan.loss_and_delta = &loss_and_delta
        plan.loss_of_first_row = loss_of_first_row
        if self.masked:
            plan.masked_loss = masked_loss
        for l in range(plan.n_layers):
            layer = &plan.layers[l]
            layer.inputs = sizes[l]
            layer.outputs = sizes[l + 1]
            layer.activation = activations[l]
            if kinds is not None:
                layer.kind = kinds[l]
                layer.setting = settings[l][0]
                layer.momentum = settings[l][1]
            layer.weight = offset
            layer.bias = -1
            if layer.kind == DENSE:
                offset += layer.inputs * layer.outputs
            else:
                plan.all_dense = False
                offset += layer.outputs if layer.kind == LAYER_NORM or layer.kind == BATCH_NORM else 0
            plan.drops = plan.drops or layer.kind == DROPOUT
            layer.running = running
            running += 2 * layer.outputs if layer.kind == BATCH_NORM else 0
            if biases[l]:
                layer.bias = offset
                offset += layer.outputs
        plan.n_parameters = offset
        self.n_running = running
        return scratch

    cdef void after_fork(self) except *:
        """In a child: the threads that held the gate or counted as readers are not here."""
        cdef PyThread_type_lock gate
        if self.generation == forks:
            return
        gate = take_lock()      # the old one may be held, and a held lock cannot be freed
        if gate == NULL:
            raise MemoryError("no memory for a lock")
        self.gate = gate
        self.readers = self.waiting = 0
        self.writing = False
        self.generation = forks

    def mask_missing_targets(self):
        """From now on an element whose target is NaN has no part in loss and gradient."""
        self.masked = True
        self.own.plan.masked_loss = masked_loss

    def set_threads(self, int threads):
        """How many threads a call may use, 1 or more. It uses fewer for small work, and the results are the same."""
        self.threads = threads

    cpdef int threads_for(self, long rows) noexcept:
        """What a call asks the pool for: another thread where it has enough to do."""
        return <int>least(self.threads, rows * self.work // WORK_PER_THREAD + 1)

    cdef void count_in(self) except *:
        """Waits until no step is under way, and counts in as a reader."""
        self.after_fork()
        self.waiting += 1
        try:
            while self.writing:
                with nogil:
                    PyThread_acquire_lock(self.gate, WAIT_LOCK)
                    PyThread_release_lock(self.gate)
        finally:
            self.waiting -= 1
        self.readers += 1       # before anything that could let another thread run

    cdef Scratch enter(self, long rows, bint training=False):
        """Counts in as a reader, hands out a workspace for one pass."""
        cdef Scratch scratch
        self.count_in()
        scratch = self.own
        self.own = None
        try:
            if scratch is None:
                scratch = self.new_scratch()
            scratch.prepare(rows, self.threads_for(rows), False, training and self.n_running > 0)
            self.set_training(scratch, training)
        except MemoryError:
            self.leave(scratch)
            raise
        scratch.take_threads(self.threads_for(rows))
        return scratch

    cdef void set_training(self, Scratch scratch, bint training) noexcept:
        scratch.plan.training = training
        scratch.plan.key = self.mask_key
        scratch.plan.draw = self.draws

    cdef void leave(self, Scratch scratch) noexcept:
        self.readers -= 1
        if scratch is not None:
            scratch.give_threads()
            self.own = scratch

    cdef void write_begin(self) noexcept:
        """Lets in the readers who wait, keeps others out until write_end, and waits until nobody reads.

        In turns, so that neither readers nor the writer starve. One writer at a time: Network sees to it.
        """
        while self.waiting:
            with nogil:
                wait_a_little()
        self.writing = True
        PyThread_acquire_lock(self.gate, WAIT_LOCK)
        while self.readers:
            with nogil:
                wait_a_little()

    cdef void write_end(self) noexcept:
        PyThread_release_lock(self.gate)
        self.writing = False

    def between_steps(self, function):
        """What function() returns, called while no step is under way in another thread."""
        self.count_in()
        try:
            return function()
        finally:
            self.readers -= 1

    def predict(self, x, out, long rows, bint training=False):
        """z of the last layer for x (rows, n_inputs), written to out (rows, n_outputs)."""
        cdef Array inputs = Array(x, "real", rows, self.n_inputs)
        cdef Array outputs = Array(out, "real", rows, self.n_outputs, True)
        cdef Scratch scratch = self.enter(rows, training)
        with nogil:
            self.predict_rows(&scratch.plan, scratch.arena, <const real *>inputs.view.buf, <real *>outputs.view.buf, rows)
        self.leave(scratch)

    cdef void predict_rows(self, const Plan *plan, real *arena, const real *source, real *target, long rows) noexcept nogil:
        cdef Data data = only_inputs(source)
        cdef Block block = make_block(plan, pool, self.parameters.data, &data, arena)
        cdef long k, most = plan.block_rows
        block.outputs = target
        take_weights(&block, rows)
        for k in range(blocks(rows, most)):
            block_forward(&block, k * most, least(most, rows - k * most))

    def predict_ready(self, x, out):
        """`predict` where x and out are just as the core takes them: True. Else False, with nothing done.

        The whole door of a call in one compiled function: through NumPy it costs five times a small net's pass.
        """
        cdef Py_buffer source, target
        cdef bint done = False
        if not hold(x, &source, False):
            return False
        if hold(out, &target, True):
            try:
                done = self.predict_held(&source, &target)
            finally:
                PyBuffer_Release(&target)
                PyBuffer_Release(&source)
        else:
            PyBuffer_Release(&source)
        return done

    cdef bint predict_held(self, const Py_buffer *source, const Py_buffer *target) except -1:
        cdef int last = source.ndim - 1
        cdef bint fine
        cdef long rows = source.shape[0] if last else 1
        cdef Scratch scratch
        if source.shape[last] != self.n_inputs or target.ndim != source.ndim or target.shape[last] != self.n_outputs:
            return False
        if rows == 0 or (last and target.shape[0] != rows):
            return False
        if not (disjoint(target, source.buf, source.len) and disjoint(target, self.parameters.data, self.parameters.bytes())):
            return False
        scratch = self.enter(rows)
        if rows * self.work > WORK_WITHOUT_GIL:
            with nogil:
                fine = self.predict_if_finite(&scratch.plan, scratch.arena, source, target, rows)
        else:
            fine = self.predict_if_finite(&scratch.plan, scratch.arena, source, target, rows)
        self.leave(scratch)
        return fine

    cdef bint predict_if_finite(self, const Plan *plan, real *arena, const Py_buffer *source, const Py_buffer *target,
                                long rows) noexcept nogil:
        if not finite_in_parts(<const real *>source.buf, rows * self.n_inputs, pool, plan.threads):
            return False
        self.predict_rows(plan, arena, <const real *>source.buf, <real *>target.buf, rows)
        return True

    def loss(self, x, targets, weights, long rows, double total_weight, int loss_code, bint training=False):
        """sum_r w_r l_r / total_weight over all rows."""
        cdef list held = []
        cdef Data data = self.take_data(x, targets, weights, None, rows, held)
        cdef Scratch scratch = self.enter(rows, training)
        cdef Block block
        cdef double value
        scratch.plan.loss = loss_code
        with nogil:
            block = make_block(&scratch.plan, pool, self.parameters.data, &data, scratch.arena)
            block.scale = per_row(&scratch.plan) / total_weight
            block.to_loss = True
            take_weights(&block, rows)
            value = batch_loss(&block, 0, rows)
        self.leave(scratch)
        return value

    def loss_and_grad(self, x, targets, weights, long rows, double total_weight, int loss_code, out, bint training=False):
        """The loss; its gradient is written to out (n_parameters,)."""
        cdef list held = []
        cdef Data data = self.take_data(x, targets, weights, None, rows, held)
        cdef Array gradient = Array(out, "real", 1, self.n_parameters, True)
        cdef Scratch scratch = self.enter(rows, training)
        cdef double value
        scratch.plan.loss = loss_code
        with nogil:
            value = self.gradient_of(&scratch.plan, &data, scratch.arena, rows, total_weight, <real *>gradient.view.buf)
        self.leave(scratch)
        return value

    cdef double gradient_of(self, const Plan *plan, const Data *data, real *arena, long rows, double total_weight,
                            real *gradient) noexcept nogil:
        cdef Block block = make_block(plan, pool, self.parameters.data, data, arena)
        block.scale = per_row(plan) / total_weight
        block.to_loss = block.to_delta = True
        block.gradient = gradient
        take_weights(&block, rows)
        return batch_gradient(&block, 0, rows)

    def loss_and_grad_ready(self, x, targets, out, int loss_code):
        """`loss_and_grad` where all arrays are just as the core takes them, any finite number is a target and all rows
        weigh the same: the loss. Else None, with nothing done."""
        cdef Py_buffer source, wanted, gradient
        cdef double loss = 0
        cdef bint done = False
        if not hold(x, &source, False):
            return None
        if hold(targets, &wanted, False):
            if hold(out, &gradient, True):
                try:
                    done = self.gradient_held(&source, &wanted, &gradient, loss_code, &loss)
                finally:
                    PyBuffer_Release(&gradient)
                    PyBuffer_Release(&wanted)
                    PyBuffer_Release(&source)
                return loss if done else None
            PyBuffer_Release(&wanted)
        PyBuffer_Release(&source)
        return None

    cdef bint gradient_held(self, const Py_buffer *source, const Py_buffer *wanted, const Py_buffer *gradient, int loss_code,
                            double *loss) except -1:
        cdef long rows = source.shape[0]
        cdef Scratch scratch
        cdef Data data
        cdef bint fine
        cdef size_t parameters = self.parameters.bytes()
        if source.ndim != 2 or source.shape[1] != self.n_inputs or rows == 0 or wanted.shape[0] != rows:
            return False
        if (wanted.shape[1] if wanted.ndim == 2 else 1) != self.n_outputs:
            return False
        if gradient.ndim != 1 or gradient.shape[0] != self.n_parameters:
            return False
        if not (disjoint(gradient, source.buf, source.len) and disjoint(gradient, wanted.buf, wanted.len)
                and disjoint(gradient, self.parameters.data, parameters)):
            return False
        data = only_inputs(<const real *>source.buf)
        data.targets = <const real *>wanted.buf
        scratch = self.enter(rows)
        scratch.plan.loss = loss_code
        if rows * self.work > WORK_WITHOUT_GIL:
            with nogil:
                fine = self.gradient_if_finite(&scratch.plan, &data, scratch.arena, rows, <real *>gradient.buf, loss)
        else:
            fine = self.gradient_if_finite(&scratch.plan, &data, scratch.arena, rows, <real *>gradient.buf, loss)
        self.leave(scratch)
        return fine

    cdef bint gradient_if_finite(self, const Plan *plan, const Data *data, real *arena, long rows, real *gradient,
                                 double *loss) noexcept nogil:
        if not (finite_in_parts(data.x, rows * self.n_inputs, pool, plan.threads)
                and finite_in_parts(data.targets, rows * self.n_outputs, pool, plan.threads)):
            return False
        loss[0] = self.gradient_of(plan, data, arena, rows, rows, gradient)
        return True

    def input_grad(self, x, targets, weights, long rows, double total_weight, int loss_code, out, bint training=False):
        """dL/dx, written to out (rows, n_inputs)."""
        cdef list held = []
        cdef Data data = self.take_data(x, targets, weights, None, rows, held)
        cdef Array gradient = Array(out, "real", rows, self.n_inputs, True)
        cdef Scratch scratch = self.enter(rows, training)
        cdef Plan *plan = &scratch.plan
        cdef real *target = <real *>gradient.view.buf
        cdef Block block
        cdef long k, row, most = scratch.plan.block_rows
        plan.loss = loss_code
        with nogil:
            block = make_block(plan, pool, self.parameters.data, &data, scratch.arena)
            block.scale = per_row(plan) / total_weight
            block.to_loss = block.to_delta = block.to_inputs = True
            take_weights(&block, rows)
            for k in range(blocks(rows, most)):
                row = k * most
                block_forward(&block, row, least(most, rows - row))
                unpack_rows(block_backward(&block), plan.stride, block.rows, self.n_inputs, target + row * self.n_inputs)
        self.leave(scratch)

    def jacobian(self, x, out, long rows):
        """dz/dx of the last layer's z, written to out (rows, n_outputs, n_inputs)."""
        cdef Array inputs = Array(x, "real", rows, self.n_inputs)
        cdef Array target = Array(out, "real", rows, self.n_outputs * self.n_inputs, True)
        cdef Data data = only_inputs(<const real *>inputs.view.buf)
        self.walk(&data, rows, False, 0, <real *>target.view.buf, NULL)

    def param_jacobian(self, x, out, long rows):
        """dz/dparameters, written to out (rows, n_outputs, n_parameters)."""
        cdef Array inputs = Array(x, "real", rows, self.n_inputs)
        cdef Array target = Array(out, "real", rows, self.n_outputs * self.n_parameters, True)
        cdef Data data = only_inputs(<const real *>inputs.view.buf)
        self.walk(&data, rows, False, 0, NULL, <real *>target.view.buf)

    def per_sample_grads(self, x, targets, weights, long rows, int loss_code, out):
        """The gradient of the loss of each row alone, times its weight, written to out (rows, n_parameters)."""
        cdef list held = []
        cdef Data data = self.take_data(x, targets, weights, None, rows, held)
        cdef Array target = Array(out, "real", rows, self.n_parameters, True)
        self.walk(&data, rows, True, loss_code, NULL, <real *>target.view.buf)

    cdef void walk(self, const Data *data, long rows, bint from_loss, int loss_code, real *by_inputs,
                   real *by_parameters) except *:
        """One line for each row and output (input), or for each row from the loss; see jacobian.pxd."""
        cdef Walk walk
        cdef Block block
        cdef Scratch scratch
        walk.from_loss = from_loss
        walk.by_inputs = by_inputs
        walk.by_parameters = by_parameters
        walk.up = by_inputs != NULL and self.goes_up
        walk.width = 1 if from_loss else self.n_inputs if walk.up else self.n_outputs
        scratch = self.enter(max(rows * walk.width, NEVER_FEW))
        if from_loss:
            scratch.plan.loss = loss_code
        with nogil:
            block = make_block(&scratch.plan, pool, self.parameters.data, data, scratch.arena)
            block.to_loss = from_loss
            block.scale = per_row(&scratch.plan)
            walk.block = &block
            walk_rows(&walk, rows)
        self.leave(scratch)

    def trace_row(self, x, targets, int loss_code, out):
        """The loss of one row; every number of its pass is written to out, in the order that trace.pxd gives."""
        cdef list held = []
        cdef Data data = self.take_data(x, targets, None, None, 1, held)
        cdef Array record
        cdef Scratch scratch = self.enter(1)
        cdef Plan *plan = &scratch.plan
        cdef double value
        try:
            record = Array(out, "real", 1, record_size(plan), True)
            plan.loss = loss_code
            with nogil:
                take_inputs(plan, &data, scratch.arena, 0, 0, 1)
                take_targets(plan, &data, scratch.arena, 0, 0, 1, per_row(plan))
                value = record_pass(plan, self.parameters.data, scratch.arena, <real *>record.view.buf)
        finally:
            self.leave(scratch)
        return value

    def assign(self, parameters):
        """Sets all parameters, between two calls of others."""
        cdef Array source = Array(parameters, "real", 1, self.n_parameters)
        self.after_fork()
        self.write_begin()
        memcpy(self.parameters.data, source.view.buf, self.parameters.bytes())
        self.write_end()

    def set_optimizer(self, dict settings):
        """Names the update, by the fields of optimizers.pxd's Optimizer; its state starts at zero."""
        cdef Optimizer o = self.optimizer
        cdef Buffer first, second, third
        o.kind = settings["kind"]
        o.lr = settings["lr"]
        o.momentum = settings.get("momentum", 0)
        o.nesterov = settings.get("nesterov", False)
        o.beta2 = settings.get("beta2", 0)
        o.eps = settings.get("eps", 1)
        o.amsgrad = settings.get("amsgrad", False)
        o.centered = settings.get("centered", False)
        o.momentum_decay = settings.get("momentum_decay", 0)
        o.lr_decay = settings.get("lr_decay", 0)
        o.initial_sum = settings.get("initial_sum", 0)
        o.shrink = settings.get("shrink", 1)
        o.grow = settings.get("grow", 1)
        o.smallest_step = settings.get("smallest_step", 0)
        o.largest_step = settings.get("largest_step", 0)
        o.weight_decay = settings["weight_decay"]
        o.l1 = settings["l1"]
        o.decay_bias = settings["decay_bias"]
        o.clip_norm = settings["clip_norm"]
        o.clip_value = settings["clip_value"]
        o.prepares = prepares_gradient(&o)
        o.steps = 0
        o.momentum_product = 1
        first = Buffer(numbers_of_first(&o, self.n_parameters))
        second = Buffer(numbers_of_second(&o, self.n_parameters))
        third = Buffer(numbers_of_third(&o, self.n_parameters))
        self.first = first
        self.second = second
        self.third = third
        self.optimizer = o

    def set_masks(self, unsigned long long key, unsigned long long draws):
        """What dropout's masks follow from: the network's key, and how many steps have drawn some."""
        self.mask_key = key
        self.draws = draws

    @property
    def workspace_bytes(self):
        """What the arenas of the calls so far take."""
        cdef long taken = 0
        cdef Scratch scratch
        for scratch in (self.own, self.tangents):
            taken += scratch.capacity * sizeof(real) if scratch is not None else 0
        return taken

    @property
    def steps(self):
        """Updates taken by the present optimiser."""
        return self.optimizer.steps

    @steps.setter
    def steps(self, long steps):
        self.optimizer.steps = steps

    @property
    def momentum_product(self):
        """Of NAdam: the product of the momenta of its steps. 1 of the others."""
        return self.optimizer.momentum_product

    @momentum_product.setter
    def momentum_product(self, double product):
        self.optimizer.momentum_product = product

    @property
    def lr(self):
        """Learning rate of the last step, or of the next one where none has been taken."""
        return self.optimizer.lr

    @lr.setter
    def lr(self, double lr):
        self.optimizer.lr = lr

    cdef const double *check_rates(self, rates, long steps, list held) except? NULL:
        """A learning rate for each of so many steps, each finite and not negative."""
        cdef Array array = Array(rates, "double", steps, 1)
        cdef const double *rate = <const double *>array.view.buf
        cdef bint fine = True
        cdef long k
        held.append(array)
        for k in range(steps):
            fine &= 0 <= rate[k] < INFINITY
        if not fine:
            raise ValueError(f"lr: expected finite numbers >= 0 for {steps} steps, got {rates!r}")
        return rate

    @property
    def bounds(self):
        """What no parameter and no number of the first and second state can pass, as the last `train` left it."""
        return self.optimizer.largest_parameter, self.optimizer.largest_first, self.optimizer.largest_second

    @bounds.setter
    def bounds(self, bounds):
        self.optimizer.largest_parameter, self.optimizer.largest_first, self.optimizer.largest_second = bounds

    def train(self, x, targets, weights, order, long rows, long batch_size, int loss_code, rates=None,
              double total=0, bint continued=False):
        """A step for every batch_size rows, the last one shorter: an epoch, or a part of one made of whole steps.

        The rows are those whose numbers `order` (rows,) gives; all of x, as they come, where it is None. `continued`: the
        call goes on where the one before ended, so that an epoch in parts has the bits of one call; `total` is what that
        one returned. Nothing but `train` may have written to the parameters in between.

        Returns `total` and the sum over rows of the losses of their batches; the elements with a target among these rows,
        where some may be missing, else 0; and the number of the first row of the batch whose step was refused because a
        loss, gradient or parameter would leave the finite range (-1: none).
        `rates` are learning rates, one a step; None leaves that of the optimiser.
        Where targets may be missing a batch counts as many rows as its elements with a target would fill.
        Ctrl-C is looked for every 25 ms and falls between two steps.
        """
        cdef list held = []
        cdef Epoch epoch = self.new_epoch(rows, batch_size)
        cdef Scratch scratch
        cdef int threads = self.threads_for(batch_size)     # not of the rows: a short last batch may be all that is left
        epoch.data = self.take_data(x, targets, weights, order, rows, held)
        epoch.masked = self.masked and epoch.data.labels == NULL
        epoch.total = total
        epoch.continued = continued
        if rates is not None:
            epoch.rates = self.check_rates(rates, blocks(rows, batch_size), held)
        while epoch.first < rows and epoch.fine:
            scratch = self.begin_steps(&epoch, threads, loss_code)
            scratch.take_threads(threads)
            with nogil:
                train_rows(&epoch, pool, seconds_now() + SECONDS_BETWEEN_SIGNALS)
            scratch.give_threads()
            self.end_steps(scratch)
            PyErr_CheckSignals()
        return epoch.total, epoch.present, (-1 if epoch.fine else epoch.first)

    cdef Epoch new_epoch(self, long rows, long batch_size) except *:
        """An epoch at its beginning, without data and workspace."""
        cdef Epoch epoch
        if self.first is None:
            raise RuntimeError("no optimiser has been set")
        if self.gradient is None:
            self.gradient = Buffer(self.n_parameters)
        self.after_fork()
        self.optimizer.first = self.first.data
        self.optimizer.second = self.second.data
        self.optimizer.third = self.third.data
        memset(&epoch, 0, sizeof(Epoch))
        epoch.rows = rows
        epoch.batch_size = batch_size
        epoch.work = self.work
        epoch.optimizer = &self.optimizer
        epoch.parameters = self.parameters.data
        epoch.gradient = self.gradient.data
        epoch.n = self.parameters_padded()
        epoch.n_first = whole_vectors(self.first.shape[0])
        epoch.waiting = &self.waiting
        epoch.fine = True
        return epoch

    cdef Scratch begin_steps(self, Epoch *epoch, int threads, int loss_code):
        """Keeps readers out until end_steps, and hands out a workspace."""
        cdef Scratch scratch = None
        self.write_begin()
        try:
            scratch = self.own if self.own is not None else self.new_scratch()
            self.own = None
            scratch.prepare(epoch.batch_size, threads,
                            scratch.plan.all_dense and trains_by_row(epoch.batch_size, &self.optimizer), self.n_running > 0)
            self.set_training(scratch, True)
        except MemoryError:
            self.own = scratch
            self.write_end()
            raise
        scratch.plan.loss = loss_code
        scratch.plan.clock = self.clock
        epoch.plan = &scratch.plan
        epoch.arena = scratch.arena
        return scratch

    cdef void end_steps(self, Scratch scratch) noexcept:
        self.draws = scratch.plan.draw
        self.own = scratch
        self.write_end()

    def profile(self, x, targets, weights, order, long rows, long batch_size, int loss_code):
        """As `train`, with a clock: returns its result and the ticks of each phase, by name."""
        cdef Clock clock
        memset(&clock, 0, sizeof(Clock))
        self.clock = &clock
        try:
            result = self.train(x, targets, weights, order, rows, batch_size, loss_code)
        finally:
            self.clock = NULL
        names = "pack", "gather", "forward", "loss", "dW", "dX", "update"
        return result, {names[k]: clock.ticks[k] for k in range(N_PHASES)}

    def hvp(self, x, targets, deltas, weights, long rows, double total_weight, int loss_code, v, out):
        """The Hessian of the loss by the parameters times v (n_parameters,), written to out (n_parameters,).

        deltas (rows, n_outputs): R{dL/dz} of the last layer where targets are dL/dz, else None. Where targets are None,
        out (2, rows, n_outputs) gets the outputs and their derivative along v instead.
        """
        cdef list held = []
        cdef bint to_loss = targets is not None
        cdef long results = self.n_parameters if to_loss else 2 * rows * self.n_outputs
        cdef Array source = Array(x, "real", rows, self.n_inputs)
        cdef Array direction = Array(v, "real", 1, self.n_parameters)
        cdef Array target = Array(out, "real", 1, results, True)
        cdef Array given = Array(deltas, "real", rows, self.n_outputs) if to_loss and loss_code == GIVEN_DELTA else None
        cdef Data data = only_inputs(<const real *>source.view.buf)
        cdef Scratch scratch, second = self.tangents
        cdef Tangent tangent
        cdef Block block
        cdef long planned = rows if rows > FEW_ROWS else FEW_ROWS + 1   # so that there is room for packed weights
        if to_loss:
            data = self.take_data(x, targets, weights, None, rows, held)
        scratch = self.enter(planned)
        self.tangents = None
        try:
            if second is None:
                second = self.new_scratch()
            second.prepare(planned, self.threads_for(planned))
        except MemoryError:
            self.leave(scratch)
            raise
        scratch.plan.loss = loss_code
        with nogil:
            block = make_block(&scratch.plan, pool, self.parameters.data, &data, scratch.arena)
            block.scale = per_row(&scratch.plan) / total_weight
            block.to_loss = block.to_delta = block.to_dz = to_loss
            block.outputs = <real *>target.view.buf
            tangent.block = &block
            tangent.along = block
            tangent.along.arena = second.arena
            tangent.along.parameters = <const real *>direction.view.buf
            tangent.deltas = <const real *>given.view.buf if given is not None else NULL
            tangent.results = <real *>target.view.buf + (0 if to_loss else rows * self.n_outputs)
            tangent_pass(&tangent, rows)
        self.tangents = second
        self.leave(scratch)

    cdef long parameters_padded(self) noexcept nogil:
        return whole_vectors(self.n_parameters)

    cdef Data take_data(self, x, targets, weights, order, long rows, list held) except *:
        """Pointers into the arrays of a call. `held` keeps them alive until it ends."""
        cdef Data data
        cdef Array array, numbers = None
        cdef long present = rows if order is None else len(x)
        if order is not None:
            numbers = Array(order, "long", rows, 1)
            held.append(numbers)
            check_order(<const long *>numbers.view.buf, rows, present)
        array = Array(x, "real", present, self.n_inputs)
        held.append(array)
        data = only_inputs(<const real *>array.view.buf)
        if order is not None:
            data.order = <const long *>numbers.view.buf
        if targets.dtype.kind == "i":
            array = Array(targets, "int", present, 1)
            data.labels = <const int *>array.view.buf
            self.check_labels(data.labels, data.order if rows < present else NULL, rows)
        else:
            array = Array(targets, "real", present, self.n_outputs)
            data.targets = <const real *>array.view.buf
        held.append(array)
        if weights is not None:
            array = Array(weights, "real", present, 1)
            held.append(array)
            data.weights = <const real *>array.view.buf
        return data

    cdef void check_labels(self, const int *labels, const long *order, long rows) except *:
        """Of the rows that the order names; of the first ones where there is none."""
        cdef long k, r
        for k in range(rows):
            r = k if order == NULL else order[k]
            if labels[r] < 0 or labels[r] >= self.n_outputs:
                raise ValueError(f"label {labels[r]} of row {r} is out of range for {self.n_outputs} outputs")


include "many.pxi"
