"""Everything a network consists of, as a dict: what is pickled and copied."""

import dataclasses
import math
import pickle

import numpy as np

from . import schedules

# The state of an optimiser, by the names of the engine's attributes. A vector that a kind does not need has no numbers.
VECTORS = ("first", "second", "third")
SCALARS = ("steps", "momentum_product")


def of(net):
    """The state of a network, between two steps where another thread fits it; nothing in it is shared with the network
    but its loss object and layers."""
    return net._engine.between_steps(lambda: copied(net))


def copied(net):
    engine = net._engine
    optimizer, kept = net.optimizer, None  # read once: a fit in another thread may be about to set it
    if optimizer is not None:
        kept = {name: np.array(getattr(engine, name)) for name in VECTORS}
        kept |= {name: getattr(engine, name) for name in SCALARS}
    return {
        "n_inputs": net.n_inputs,
        "layers": tuple(picklable_layer(layer) for layer in net.layers),
        "objective": net.objective,
        "dtype": net.dtype.name,
        "seed": net.seed,
        "threads": net.threads,
        "missing_targets": net.missing_targets,
        "params": np.array(engine.parameters),
        "running": np.array(engine.running),
        "masks": (engine.mask_key, engine.draws),
        "optimizer": optimizer,
        "lr": engine.lr,
        "optimizer_state": kept,
        "history": None if net.history is None else net.history.copy(),
        "rng": net._rng.bit_generator.state,
    }


def of_dtype(state, dtype):
    """state with the numbers in another dtype, without optimiser; those that are finite must be so there too."""
    converted = {}
    for name, what in (("params", "parameters"), ("running", "running statistics")):
        with np.errstate(over="ignore"):
            converted[name] = state[name].astype(dtype)
        beyond = state[name][np.isfinite(state[name]) & ~np.isfinite(converted[name])]
        if beyond.size:
            raise ValueError(f"dtype: expected one whose range holds the {what}, got {dtype} beside {beyond[0]:g}")
    return state | converted | {"dtype": dtype.name, "optimizer": None, "optimizer_state": None}


def restore(net, state):
    """Makes the bare object `net` the network of a state."""
    dtype = np.dtype(state["dtype"])
    net._describe(
        state["n_inputs"], state["layers"], state["objective"], dtype, state["seed"], state["threads"],
        state.get("missing_targets", "raise"),
    )  # fmt: skip
    net._rng = np.random.default_rng()
    net._rng.bit_generator.state = state["rng"]
    net._build()
    net.params[:] = state["params"]
    if "masks" in state:  # not in what was pickled before there were layers other than Dense
        np.asarray(net._engine.running)[:] = state["running"]
        net._engine.set_masks(*state["masks"])
    net.__dict__["history"] = state["history"]
    if state["optimizer"] is not None:
        net._set_optimizer(state["optimizer"])
        kept = state["optimizer_state"]
        for name in VECTORS:
            np.asarray(getattr(net._engine, name))[:] = kept[name]
        for name in SCALARS:
            setattr(net._engine, name, kept[name])
        net._engine.lr = state.get("lr", net._engine.lr)


def picklable(state):
    """state, with the last learning rate instead of a schedule that cannot be pickled (a lambda)."""
    optimizer = state["optimizer"]
    if optimizer is not None:
        try:
            pickle.dumps(optimizer)
        except Exception:  # pickle raises all sorts
            return state | {"optimizer": schedules.with_number(optimizer, state["lr"])}
    return state


def picklable_layer(layer):
    """layer, without an init that cannot be pickled (a lambda): the weights that it made are kept anyway."""
    if not callable(getattr(layer, "init", None)):
        return layer
    try:
        pickle.dumps(layer.init)
    except Exception:  # pickle raises all sorts
        return dataclasses.replace(layer, init="auto")
    return layer


def views(flat, shapes):
    """Views of a flat vector in these shapes, one after another; None for None."""
    found, at = [], 0
    for shape in shapes:
        end = at + (0 if shape is None else math.prod(shape))
        found.append(None if shape is None else flat[at:end].reshape(shape))
        at = end
    return tuple(found)
