"""How an ensemble is trained: in lanes or on threads, epoch by epoch, each member with what it has of its own."""

import math
import time
from dataclasses import fields, replace

import numpy as np

from . import chain, checks, class_weights, config, cpus, data, optimizers, progress, rates, shuffle, training
from .checkpoint import Checkpoint
from .full_batch import FullBatch
from .history import History
from .hooks import Hooks, callables, close_all
from .layers import Dense
from .schedules import check_in_pieces

# fields of an optimiser that lanes know beside lr and weight_decay; others must be at their defaults
IN_LANES = {"SGD": {"momentum", "nesterov"}, "Adam": {"betas", "eps"}, "AdamW": {"betas", "eps"}}
MOST_PARAMETERS_IN_LANES = 1000  # above it the numbers of a whole vector of networks leave the L1 cache
LEAST_FILLED = 0.75  # of the lanes of all threads
NUMBERS_OF_ORDERS = 1 << 23  # rows in their orders, of the networks that are trained at the same time


def optimizers_of(ensemble, optimizer):
    """An optimiser for each member, with what the ensemble has of its own, and whether it starts fresh."""
    members = list(ensemble)
    own = {name: getattr(ensemble, name) for name in ("lr", "weight_decay") if getattr(ensemble, name) is not None}
    fresh = [optimizer is not None or member.optimizer is None for member in members]
    if any(fresh):
        optimizer = optimizer or optimizers.Adam()
        optimizers.check(optimizer, members[0].dtype)
        if isinstance(optimizer, FullBatch):
            raise TypeError(f"optimizer: expected a first-order optimiser for an Ensemble, got {optimizer}")
        missing = own.keys() - {field.name for field in fields(optimizer)}
        if missing:
            raise ValueError(f"optimizer: expected one with {' and '.join(sorted(missing))}, got {optimizer}")
    chosen = []
    for i, member in enumerate(members):
        if fresh[i] and own:
            chosen.append(replace(optimizer, **{name: values[i] for name, values in own.items()}))
            optimizers.check(chosen[-1], member.dtype)
        elif fresh[i]:
            chosen.append(optimizer)
        elif isinstance(member.optimizer, FullBatch):
            raise TypeError(f"optimizer: expected a first-order optimiser for member {i}, which has {member.optimizer}")
        else:
            chosen.append(member.optimizer)
    return chosen, fresh


def goes_in_lanes(ensemble, chosen):
    """None if networks can go side by side, else what keeps them from it."""
    first = chosen[0]
    if not all(type(layer) is Dense for layer in ensemble[0].layers):
        return "layers besides Dense"
    if ensemble[0].missing_targets == "mask":
        return "missing_targets='mask'"
    for optimizer in {id(each): each for each in chosen}.values():  # most often there is one
        known = IN_LANES.get(type(optimizer).__name__)
        if known is None:
            return f"{type(optimizer).__name__}"
        for field in fields(optimizer):
            value = getattr(optimizer, field.name)
            if field.name in ("lr", "weight_decay") and not isinstance(value, float):
                return f"{field.name}={value!r}"
            if field.name not in {"lr", "weight_decay", *known} and value != field.default:
                return f"{field.name}={value!r}"
        if type(optimizer) is not type(first):
            return "different optimisers"
        if isinstance(optimizer, optimizers.SGD):
            if (optimizer.momentum > 0, optimizer.nesterov) != (first.momentum > 0, first.nesterov):
                return "momentum in some members only"
    return None


def runs_in_lanes(ensemble, chosen):
    obstacle = goes_in_lanes(ensemble, chosen)
    if ensemble.run == "lanes" and obstacle:
        raise ValueError(
            f"run: expected 'threads' or 'auto' with {obstacle}; 'lanes' takes Dense layers, and SGD, Adam or AdamW "
            "of a constant learning rate"
        )
    if ensemble.run != "auto":
        return ensemble.run == "lanes"
    lanes = config.engine_module(ensemble[0].dtype).lanes() * threads_of(ensemble)
    filled = len(ensemble) / (-(-len(ensemble) // lanes) * lanes)
    return obstacle is None and ensemble[0].n_params <= MOST_PARAMETERS_IN_LANES and filled >= LEAST_FILLED


def threads_of(ensemble):
    return cpus.default_threads() if ensemble.threads is None else ensemble.threads


def drawn(seed, n_rows):
    """How often each row comes up in n_rows draws with replacement. The generator is not that of shuffling."""
    return np.bincount(np.random.default_rng((seed, 1)).integers(0, n_rows, n_rows), minlength=n_rows)


class Job:
    """What is trained: arguments that are checked, data that has come through the door."""

    def __init__(self, ensemble, X, y, epochs, batch_size, optimizer, shuffle, verbose=0, split=0.0, weights=None):
        net = ensemble[0]
        self.epochs = checks.positive_int("epochs", epochs)
        if batch_size is not None:
            batch_size = checks.positive_int("batch_size", batch_size)
        self.shuffle = checks.boolean("shuffle", shuffle)
        self.verbose = checks.choice("verbose", verbose, ("auto", 0, 1, True, False))
        self.optimizers, self.fresh = optimizers_of(ensemble, optimizer)
        self.in_lanes = runs_in_lanes(ensemble, self.optimizers)
        self.X = data.inputs(X, net.n_inputs, net.dtype)
        n = len(self.X)
        self.targets = data.targets(y, n, net.n_outputs, net.objective, net.dtype, missing=net.missing_targets)
        if weights is not None:
            data.sample_weights(weights, n, net.dtype)
        self.sample_weight, self.held_out = weights, None
        if split:
            self.X, self.targets, self.held_out = training.parted(self.X, self.targets, split, weights)
        self.rows = len(self.X)
        whole = [optimizer for optimizer in self.optimizers if isinstance(optimizer, optimizers.Rprop)]
        self.batch_size = optimizers.rows_of_batch((whole or self.optimizers)[0], batch_size, self.rows)
        self.steps = -(-self.rows // self.batch_size)
        last = self.rows - (self.steps - 1) * self.batch_size
        chain.refuse_one_row(net.layers, last, f"batch_size: the last of {self.rows} rows")
        self.counted = self.rows  # as in epochs.train
        if net.missing_targets == "mask" and self.targets.ndim == 2:
            self.counted = np.count_nonzero(self.targets == self.targets) / net.n_outputs
        self.weights = self._orders = None
        self.validate, self.lists = training.nothing, ("loss", "lr", "seconds")
        self.callbacks, self.calls = [()] * len(ensemble), False
        self.done = [0] * len(ensemble)  # epochs of each member's optimiser before these
        self.end = self.epochs  # the number of the last one, as schedules know it

    def in_pieces(self, ensemble):
        """The next piece of data: an epoch after those that each member's optimiser has seen."""
        members = list(ensemble)
        pairs = zip(self.fresh, self.optimizers, members, strict=True)
        self.fresh = [fresh and optimizer != member.optimizer for fresh, optimizer, member in pairs]
        for i, member in enumerate(members):
            check_in_pieces(getattr(self.optimizers[i], "lr", 0.0))
            if not self.fresh[i] and member.history is not None:
                self.done[i] = member.history.epochs.stop - 1
        self.end = math.inf

    def call(self, callbacks):
        """Callbacks for each member, as `Ensemble.fit` takes them."""
        for i, given in enumerate(callbacks):
            each = callables(given, f"callbacks[{i}]", f"a callable or a list of callables for member {i}")
            if any(isinstance(callback, Checkpoint) and callback.resumable for callback in each):
                raise ValueError(
                    f"callbacks[{i}]: expected no Checkpoint that keeps a training, for a member's cannot be resumed; "
                    "Checkpoint(path, optimizer=False) saves the network after each epoch"
                )
            self.callbacks[i], self.calls = tuple(each), self.calls or bool(each)

    def weigh(self, ensemble, class_weight):
        """Weights of mean 1 for each member; None where all are 1."""
        net, weights = ensemble[0], None
        if self.sample_weight is not None:
            weights = np.asarray(self.sample_weight, np.float64)[: self.rows]
        if class_weight is not None:
            of_classes = class_weights.row_weights(class_weight, self.targets, net)
            weights = of_classes if weights is None else weights * of_classes
        if not ensemble.bootstrap:
            if weights is not None:
                self.weights = [data.sample_weights(weights, self.rows, net.dtype)] * len(ensemble)
            return
        self.weights = []
        for seed in ensemble.seeds:
            times = drawn(seed, self.rows).astype(np.float64)
            times = times if weights is None else times * weights
            self.weights.append(data.sample_weights(times, self.rows, net.dtype, "sample_weight, as drawn"))

    def validate_with(self, net, validation, asked):
        self.validate, names = training.validation_of(net, validation or self.held_out, asked)
        self.lists = "loss", "lr", *names, "seconds"

    def check_schedules(self):
        """Refuses one that goes by what the histories will not have."""
        for optimizer in self.optimizers:
            rates.begin(optimizer, self.lists)

    def orders(self, members):
        """Memory for an order of rows for each member, which is used again; and what each order follows from."""
        if self._orders is None or len(self._orders) < len(members):
            self._orders = np.empty((len(members), self.rows + 8), np.int64)  # as the core lays them out
        seeds = np.array([shuffle.seed(member._rng) for member in members], np.uint64)
        return self._orders[: len(members)], seeds.view(np.int64)

    def entry(self, member, loss):
        """What goes into a member's history after an epoch."""
        entry = {"loss": loss, "lr": member._engine.lr}
        return entry if self.validate is training.nothing else entry | self.validate(member)


def run_epochs(ensemble, job):
    """Trains all members; returns {member: (epoch, batch)} of those that diverged."""
    members = list(ensemble)
    records = [History(done, done + job.epochs) for done in job.done]
    hooks = [Hooks(*each) for each in zip(job.callbacks, members, records, strict=True) if each[0]]
    try:
        for each in hooks:
            each.begin(job.lists)
        for i, member in enumerate(members):
            if job.fresh[i]:
                member._set_optimizer(job.optimizers[i])
            member.__dict__["history"] = records[i]
        return run_members(ensemble, job)
    finally:
        try:
            close_all(hooks)
        finally:
            close_all(hooks)


def run_members(ensemble, job):
    members = list(ensemble)
    mean, shown = History(0, job.epochs), progress.wanted((), job.verbose)
    if shown:
        shown.begin(members[0], ())
    learning_rates = [rates.Rates(member, job.end) for member in members]
    left, diverged = list(range(len(members))), {}
    try:
        for epoch in range(job.epochs):
            begin = time.perf_counter()
            of_epoch = [learning_rates[i].of_epoch(job.done[i] + epoch, job.steps) for i in left]
            results = train_epoch(ensemble, job, left, of_epoch)
            refused = {i: row for i, (_, row) in results.items() if row >= 0}
            diverged |= {i: (job.done[i] + epoch, row // job.batch_size) for i, row in refused.items()}
            left = [i for i in left if i not in diverged]
            entries = {i: job.entry(members[i], results[i][0] / (job.counted or 1.0)) for i in left}
            seconds = time.perf_counter() - begin
            for i in left:
                members[i].history.append(entries[i] | {"seconds": seconds})
            if not left:
                break
            mean.append({name: float(np.mean([e[name] for e in entries.values()])) for name in entries[left[0]]}
                        | {"seconds": seconds})  # fmt: skip
            if shown:
                shown(members[0], mean)
            if job.calls:
                left = [i for i in left if not stops(job.callbacks[i], members[i])]
                if not left:
                    break
                for i in left if epoch + 1 < job.epochs else ():
                    training.check_parameters(members[i])
    finally:
        for member in members:
            member.history.close()
        if shown:
            shown.end(members[0], mean)
    return diverged


def stops(callbacks, member):
    """Tells a member's callbacks of an epoch; whether one of them ends its training."""
    answers = [callback(member, member.history) for callback in callbacks]
    return any(answer for answer in answers if isinstance(answer, (bool, np.bool_)))


def train_epoch(ensemble, job, left, learning_rates):
    """One epoch of the members of these numbers: {number: what Engine.train returns}."""
    of_steps = [each.of(0, job.steps) for each in learning_rates]
    if any(each is not None for each in of_steps):  # a member whose rate is a number then has it for each step
        pairs = zip(left, of_steps, strict=True)
        of_steps = [np.full(job.steps, job.optimizers[i].lr) if each is None else each for i, each in pairs]
    core = config.engine_module(ensemble[0].dtype)
    threads = threads_of(ensemble)
    group = core.lanes() * threads  # so that all threads have something to do, and all lanes
    most = max(1, NUMBERS_OF_ORDERS // (job.rows * group)) * group
    code = ensemble[0]._core_loss.code_for(job.targets)
    results = {}
    for first in range(0, len(left), most):
        numbers = left[first : first + most]
        members = [ensemble[i] for i in numbers]
        orders, seeds = job.orders(members) if job.shuffle else (None, None)
        weights = None if job.weights is None else np.stack([job.weights[i] for i in numbers])
        of_members = None if of_steps[0] is None else of_steps[first : first + most]
        outcome = core.train_many(
            [member._engine for member in members], job.X, job.targets, weights, orders, seeds, job.rows,
            job.batch_size, code, threads, job.in_lanes, of_members,
        )  # fmt: skip
        results |= zip(numbers, outcome, strict=True)
    return results


def report(diverged, n):
    named = [f"member {i} in epoch {epoch + 1}, batch {batch + 1}" for i, (epoch, batch) in diverged.items()]
    more = f" and {len(named) - 4} more" if len(named) > 4 else ""
    return (
        f"training diverged in {len(named)} of {n} members: {'; '.join(named[:4])}{more}. A loss, gradient or "
        "parameter would leave the finite range; their last finite parameters are in place, the others were trained on"
    )
