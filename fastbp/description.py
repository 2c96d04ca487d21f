"""What a saved network's file says in words, as JSON: all but the arrays. Values from a file are checked one by one."""

import dataclasses

import numpy as np

from . import chain as chain_
from . import checks, layers, losses, optimizers, schedules
from .history import History
from .version import __version__

KIND, VERSION = "fastbp.Network", 2
KEYS_OF_1 = set("kind version fastbp inputs layers loss dtype seed threads rng optimizer steps".split())
KEYS = KEYS_OF_1 | {"momentum_product"}
OPTIONAL = {"masks", "missing_targets", "epochs"}  # absent where nothing depends on them, or they are the default
OPTIMIZERS_OF_1 = {  # and their fields
    "SGD": {"lr", "momentum", "nesterov", "weight_decay"},
    "Adam": {"lr", "betas", "eps", "weight_decay"},
    "AdamW": {"lr", "betas", "eps", "weight_decay"},
}
MOST_DIGITS = 4300  # of an integer: Python's own default, which versions before 3.10.7 lack
MOST_STEPS = 1 << 62


def expect(holds, problem):
    if not holds:
        raise ValueError(problem)


def of(kept):
    """The JSON text, in ASCII, of what is not an array in a state."""
    import json

    loss, optimizer = kept["objective"], kept["optimizer"]
    described = {
        "kind": KIND,
        "version": VERSION,
        "fastbp": __version__,
        "inputs": kept["n_inputs"],
        "layers": [layer_entry(layer) for layer in kept["layers"]],
        "loss": named(loss) if isinstance(loss, losses.Loss) else {"object": type(loss).__name__},
        "dtype": kept["dtype"],
        "seed": kept["seed"],
        "threads": kept["threads"],
        "rng": kept["rng"],
        "optimizer": None if optimizer is None else with_rate(named(optimizer), kept["lr"]),
        "steps": 0 if optimizer is None else kept["optimizer_state"]["steps"],
        "momentum_product": 1.0 if optimizer is None else kept["optimizer_state"]["momentum_product"],
    }
    if has_dropout(kept["layers"]):
        described["masks"] = kept["masks"]
    if kept["missing_targets"] != "raise":
        described["missing_targets"] = kept["missing_targets"]
    history = kept["history"]
    if history is not None and not isinstance(getattr(optimizer, "lr", 0.0), float):
        described["epochs"] = history.epochs.stop - 1  # the time at which a schedule goes on in partial_fit
    return json.dumps(described).encode("ascii")


def layer_entry(layer):
    """Fields of a layer; those other than Dense are named, as a Dense was before there were others."""
    if isinstance(layer, layers.Dense):
        return fields_of(layer) | {"init": init_name(layer.init)}
    return {"kind": type(layer).__name__, **fields_of(layer)}


def has_dropout(chain):
    return any(isinstance(layer, layers.Dropout) for layer in chain)


def fields_of(thing):
    return {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}


def named(thing):
    return {"name": type(thing).__name__, **fields_of(thing)}


def with_rate(entry, last):
    return entry | {"lr": rate_of(entry["lr"], last)} if "lr" in entry else entry


def rate_of(lr, last):
    """A learning rate in names and numbers; of what has no such description the name, and the rate of the last step."""
    if isinstance(lr, float):
        return lr
    if not schedules.is_own(lr):
        return {"object": schedules.name_of(lr), "last": last}
    return named(lr) | {"lr": rate_of(lr.lr, last)}


def init_name(init):
    """The name of an init; arrays and callables have done their work, and what they made is in the parameters."""
    return init if isinstance(init, str) else "auto"


def json_of(text):
    """What a JSON text from a file says."""
    import json

    def integer(digits):
        expect(len(digits) <= MOST_DIGITS, f"description: an integer of {len(digits)} digits")
        return int(digits)

    return json.loads(text.decode("ascii"), parse_int=integer)


def parsed(text):
    """The description as a dict with the keys of this version, whichever it was written in."""
    described = json_of(text)
    expect(isinstance(described, dict) and described.get("kind") == KIND, f"description: expected kind {KIND!r}")
    version = described.get("version")
    newer = f"version: expected 1 to {VERSION} of the format, got {checks.SHORT.repr(version)}"
    known = type(version) is int and 1 <= version <= VERSION
    expect(known, f"{newer}, written by fastbp {described.get('fastbp')!r:.40}")
    keys, optional = (KEYS_OF_1, set()) if version == 1 else (KEYS, OPTIONAL)
    wrong = f"description: expected the keys {sorted(keys)}, got {sorted(described)!r:.200}"
    expect(keys <= described.keys() <= keys | optional, wrong)
    return upgraded(described) if version == 1 else described


def upgraded(described):
    """A description of version 1 with what has come since: fields of optimisers, as they are by default."""
    entry = described["optimizer"]
    if entry is not None:
        expect(isinstance(entry, dict), "optimizer: expected a name and fields")
        name = checks.choice("optimizer", entry.get("name"), tuple(OPTIMIZERS_OF_1))
        check_fields(entry.keys() - {"name"}, OPTIMIZERS_OF_1[name], "optimizer")
        fields = dataclasses.fields(getattr(optimizers, name))
        entry = {field.name: field.default for field in fields if field.name not in entry} | entry
    return described | {"optimizer": entry, "momentum_product": 1.0}


def shape_of(described):
    """Number of inputs, a list of layers, dtype."""
    entries = described["layers"]
    expect(isinstance(entries, list) and entries, "layers: expected a list of layers")
    for entry in entries:
        named = isinstance(entry, dict) and ("kind" in entry or isinstance(entry.get("init"), str))
        expect(named, "layers: expected fields, init by name")
    kinds = {kind.__name__: kind for kind in layers.KINDS if kind is not layers.Dense}
    chain = [
        made(kinds[checks.choice("layers", entry.pop("kind"), tuple(kinds))], entry, "layers")
        if "kind" in entry
        else made(layers.Dense, entry, "layers")
        for entry in entries
    ]
    return checks.positive_int("inputs", described["inputs"]), chain, checks.dtype("dtype", described["dtype"])


def bare_network(described, n_inputs, chain, dtype, loss, lr=None):
    """The network described, its parameters and optimiser state zero; `loss` and `lr` as in `saving.load`."""
    from .network import Network

    objective = loss_of(described["loss"], loss)
    losses.check_range(objective, dtype)
    missing = described.get("missing_targets", "raise")
    losses.check_missing(objective, missing)
    n_dense = sum(isinstance(layer, layers.Dense) for layer in chain)
    hidden = ["identity"] * (n_dense - 1)
    net = Network.__new__(Network)
    net._describe(
        n_inputs,
        chain_.resolve([n_inputs, *chain], hidden, None, objective, True, "auto"),
        objective,
        dtype,
        checks.seed("seed", described["seed"]),
        checks.threads("threads", described["threads"]),
        missing,
    )
    net._rng = generator_of(described["rng"])
    steps = checks.integer("steps", described["steps"], 0)
    expect(steps < MOST_STEPS, f"steps: expected fewer than {MOST_STEPS}, got {steps}")
    momentum_product = checks.number("momentum_product", described["momentum_product"], at_least=0, at_most=1)
    net._build()
    expect(("masks" in described) == has_dropout(chain), "masks: expected where there is a Dropout, and nowhere else")
    if "masks" in described:
        masks = described["masks"]
        fine = isinstance(masks, list) and len(masks) == 2 and all(type(n) is int and 0 <= n < 1 << 63 for n in masks)
        expect(fine, "masks: expected two integers")
        net._engine.set_masks(*masks)
    if "epochs" in described:
        done = checks.integer("epochs", described["epochs"], 0)
        expect(done < MOST_STEPS, f"epochs: expected fewer than {MOST_STEPS}, got {done}")
        net.__dict__["history"] = History(done)
    entry = described["optimizer"]
    waits = isinstance(entry, dict) and is_object(entry.get("lr"))
    expect(lr is None or waits, "lr: expected None, for the file has no optimiser that asks for a schedule")
    if entry is not None:
        if isinstance(entry, dict) and isinstance(entry.get("lr"), dict):
            entry = entry | {"lr": rate(entry["lr"], lr)}
        optimizer = named_of(optimizers, tuple(optimizers.CLASSES), entry, "optimizer")
        optimizers.check(optimizer, dtype)
        net._set_optimizer(optimizer)
        net._engine.steps = steps
        net._engine.momentum_product = momentum_product
    return net


def is_object(entry):
    return isinstance(entry, dict) and entry.keys() == {"object", "last"}


def name_of_rate(described):
    """The name of the function or schedule of the user's that gives the learning rate; None where there is none."""
    entry = described["optimizer"]
    return entry["lr"]["object"] if entry is not None and is_object(entry.get("lr")) else None


def rate(entry, lr):
    """What `rate_of` described; `lr` is what came with the call, where the file has no more than a name."""
    if not isinstance(entry, dict):
        return checks.number("lr", entry, at_least=0)
    if not is_object(entry):
        expect("lr" in entry, "lr: expected a name and fields, lr among them")
        return named_of(schedules, tuple(schedules.OWN), entry | {"lr": rate(entry["lr"], None)}, "lr")
    if lr is None:
        return checks.number("lr", entry["last"], at_least=0)
    wanted = f"lr: expected lr=... with what is named {entry['object']!r:.60}, got {schedules.name_of(lr)!r:.60}"
    expect(schedules.name_of(schedules.checked(lr)) == entry["object"], wanted)
    return lr


def made(kind, entry, what):
    """An object of a dataclass from the values of its fields."""
    check_fields(entry.keys(), {field.name for field in dataclasses.fields(kind)}, what)
    return kind(**entry)


def check_fields(fields, wanted, what):
    expect(fields == wanted, f"{what}: expected the fields {sorted(wanted)}, got {sorted(fields)!r:.200}")


def named_of(module, names, entry, what):
    """An object of one of a module's classes, as `named` describes it."""
    expect(isinstance(entry, dict), f"{what}: expected a name and fields")
    name = checks.choice(what, entry.pop("name", None), names)
    return made(getattr(module, name), entry, what)


def loss_of(entry, loss):
    """The loss that the file names; `loss` is what came with the call."""
    expect(isinstance(entry, dict), "loss: expected a name and fields")
    if entry.keys() == {"object"}:
        wanted = entry["object"]
        is_it = loss is not None and not isinstance(loss, losses.Loss) and type(loss).__name__ == wanted
        expect(is_it, f"loss: expected load(path, loss=...) with an object of a class {wanted!r:.60}")
        return loss
    expect(loss is None, f"loss: expected None, for the file has {entry.get('name')!r:.60} of its own")
    return named_of(losses, tuple(cls.__name__ for cls in losses.CLASSES.values()), entry, "loss")


def generator_of(saved):
    """NumPy's default generator in a state of its own `bit_generator.state`."""
    rng = np.random.default_rng()
    wanted = rng.bit_generator.state
    shape = "rng: expected the state of a PCG64 generator"
    expect(isinstance(saved, dict) and saved.keys() == wanted.keys() and isinstance(saved["state"], dict), shape)
    expect(saved["bit_generator"] == wanted["bit_generator"] and saved["state"].keys() == wanted["state"].keys(), shape)
    numbers = [*saved["state"].values(), saved["has_uint32"], saved["uinteger"]]
    limits = [1 << 128, 1 << 128, 2, 1 << 32]
    expect(all(type(n) is int and 0 <= n < limit for n, limit in zip(numbers, limits, strict=True)), shape)
    expect(saved["state"]["inc"] % 2 == 1, f"{shape}, its increment odd")
    rng.bit_generator.state = saved
    return rng
