"""Everything of a network that an error must leave alone, as values that compare with ==."""

import copy

import numpy as np


def snapshot(net):
    """Parameters, optimiser and its state, generator, history, and what is fixed at construction."""
    engine = net._engine
    optimizer_state = None
    if net.optimizer is not None:
        vectors = bytes(engine.first), bytes(engine.second), bytes(engine.third)
        optimizer_state = *vectors, engine.steps, engine.momentum_product
    return {
        "params": net.params.tobytes(),
        "running": bytes(engine.running),
        "masks": (engine.mask_key, engine.draws),
        "optimizer": net.optimizer,
        "optimizer_state": optimizer_state,
        "rng": copy.deepcopy(net._rng.bit_generator.state),
        "history": None if net.history is None else copy.deepcopy(net.history.history),
        "fixed": (
            net.n_inputs,
            net.n_outputs,
            net.layers,
            net.objective,
            net.dtype,
            net.seed,
            net.threads,
            net.missing_targets,
        ),
        "being fitted": "_fitted_by" in net.__dict__,
    }


def all_finite(net):
    """Whether parameters and optimiser state are."""
    vectors = [net.params, np.asarray(net._engine.running)]
    if net.optimizer is not None:
        vectors += [np.asarray(v) for v in (net._engine.first, net._engine.second, net._engine.third)]
    return all(bool(np.isfinite(vector).all()) for vector in vectors)
