"""The file of a training: that of its network (saving.py), with an array `run`, JSON that says all but numbers in bulk,
and `run0`, `run1`, ... for those."""

import numpy as np

from . import checks, config, description, saving
from .callbacks import Callback
from .description import expect
from .epochs import Position
from .full_batch import FullBatch, Iterations
from .history import History
from .record import Record, metrics_by_name, name_of
from .version import __version__

VERSION = 1
KEYS = set(
    "version fastbp numpy level settings metrics data callbacks position finished generator bounds history".split()
)
OF_ITERATIONS = "iterations"  # a further key, of an optimiser that works on all rows
DTYPES = "float32", "float64", "int32", "int64"  # of arrays in a file
ARRAY = "1-D array"  # key of what stands for an array in the JSON
PLACES = 1 << 62  # more than any count of epochs, batches or rows


def write(path, training):
    """Saves a `training.Training` between two steps."""
    members = members_of(training)
    saving.write(path, lambda file: saving.savez(file, members))


def members_of(training):
    import json

    net, at, arrays = training.net, training.position, []
    states = [callback.state() if isinstance(callback, Callback) else None for callback in training.callbacks]
    said = {
        "version": VERSION,
        "fastbp": __version__,
        "numpy": np.__version__,
        "level": config.LEVEL,
        "settings": training.settings,
        "metrics": metrics_by_name(training.metrics),
        "data": training.prints,
        "callbacks": [
            [name_of(callback), plain(state, arrays, f"callbacks: the state of {name_of(callback)}")]
            for callback, state in zip(training.callbacks, states, strict=True)
        ],
        "position": [at.epoch, at.batches, at.rows, at.loss, training.seconds() if at.batches else 0.0, at.present],
        "finished": training.finished,
        "generator": training.generator,
        "bounds": net._engine.bounds,
        "history": history_members(net.history, arrays),
    }
    if isinstance(training.source, Iterations):
        said[OF_ITERATIONS] = training.source.state()
    text = json.dumps(said).encode("ascii")
    if len(text) > saving.MOST_DESCRIPTION:
        raise ValueError(f"callbacks: expected states of at most {saving.MOST_DESCRIPTION} bytes, got {len(text)}")
    of_run = {f"run{k}": array for k, array in enumerate(arrays)}
    return {**saving.members_of(net), "run": np.array(text), **of_run}


def history_members(history, arrays):
    """The lists of a history; of those that callbacks added, the ones of numbers."""
    lists = {}
    for name, values in history.history.items():
        if name in history._names or all(type(value) in (int, float) for value in values):
            lists[name] = plain(np.array(values, np.float64), arrays, name)
    return {"own": [name for name in history._names if name in lists], "lists": lists}


def plain(value, arrays, what):
    """value as JSON has it; arrays go to the list `arrays`, and their place there stands for them."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(each, arrays, what) for each in value]
    if isinstance(value, dict) and ARRAY not in value and all(isinstance(key, str) for key in value):
        return {key: plain(each, arrays, what) for key, each in value.items()}
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.name in DTYPES:
        arrays.append(np.ascontiguousarray(value))
        return {ARRAY: len(arrays) - 1, "dtype": value.dtype.name, "length": len(value)}
    wanted = "numbers, strings, lists, dicts with strings for keys, or 1-D arrays"
    raise TypeError(f"{what}: expected {wanted}, got {checks.described(value)}")


def read(archive, sizes, net):
    """The Record in an archive whose network is `net`."""
    expect("run" in sizes, "expected a training, got a network alone, which fastbp.load takes")
    said = description.json_of(saving.text_of(archive, "run", sizes))
    expect(isinstance(said, dict), "run: expected a dict")
    version = said.get("version")
    wanted = f"run: expected version {VERSION}, got {checks.SHORT.repr(version)}"
    expect(type(version) is int and version == VERSION, f"{wanted}, written by fastbp {said.get('fastbp')!r:.40}")
    expect(said.keys() - {OF_ITERATIONS} == KEYS, f"run: expected the keys {sorted(KEYS)}, got {sorted(said)!r:.200}")
    expect(net.optimizer is not None, "optimizer: expected one in the file of a training")
    iterations = iterations_of(said, net.optimizer)
    used = {"run"}
    take = lambda value: with_arrays(value, archive, sizes, used)  # noqa: E731
    settings = settings_of(said["settings"])
    expect(isinstance(said["data"], dict), "data: expected a dict")
    expect(all(isinstance(each, dict) for each in said["data"].values()), "data: expected dicts")
    position = position_of(said["position"], settings)
    finished = checks.boolean("finished", said["finished"])
    expect(finished or position.epoch < settings["epochs"], f"position: expected an epoch < {settings['epochs']}")
    expect(not (finished and position.batches), "position: expected no batches after the end")
    bounds = said["bounds"]
    expect(isinstance(bounds, list) and len(bounds) == 3, "bounds: expected three numbers")
    record = Record(
        settings=settings,
        metrics=metric_names(said["metrics"]),
        data=said["data"],
        callbacks=callback_states(said["callbacks"], take),
        position=position,
        finished=finished,
        generator=description.generator_of(said["generator"]).bit_generator.state,
        bounds=tuple(checks.number("bounds", bound, at_least=0) for bound in bounds),
        iterations=iterations,
        history=history_of(said["history"], position.epoch, settings, take, beside_loss(net.optimizer)),
    )
    present = {name for name in sizes if saving.is_of_run(name)}
    expect(used == present, f"run: expected the arrays {sorted(used)!r:.200}, got {sorted(present)!r:.200}")
    return record, {name: said[name] for name in ("fastbp", "numpy", "level")}


def settings_of(said):
    """Types alone: `fit` looks at the values again."""
    wanted = {"epochs", "initial_epoch", "batch_size", "shuffle", "validation_split", "class_weight"}
    expect(isinstance(said, dict) and said.keys() == wanted, f"settings: expected {sorted(wanted)}, got {said!r:.200}")
    epochs = checks.positive_int("epochs", said["epochs"])
    expect(epochs < PLACES, f"epochs: expected fewer than {PLACES}")
    initial_epoch = checks.integer("initial_epoch", said["initial_epoch"], 0)
    class_weight = said["class_weight"]
    if isinstance(class_weight, list):
        expect(all(isinstance(pair, list) and len(pair) == 2 for pair in class_weight), "class_weight: expected pairs")
        class_weight = {
            checks.integer("class_weight", key, -1): checks.number("class_weight", weight, at_least=0)
            for key, weight in class_weight
        }
    elif class_weight is not None:
        checks.choice("class_weight", class_weight, ("balanced",))
    expect(initial_epoch < epochs, f"initial_epoch: expected less than {epochs}, got {initial_epoch}")
    batch_size = said["batch_size"]  # None where an iterable gave the batches
    return {
        "epochs": epochs,
        "initial_epoch": initial_epoch,
        "batch_size": None if batch_size is None else checks.positive_int("batch_size", batch_size),
        "shuffle": checks.boolean("shuffle", said["shuffle"]),
        "validation_split": checks.number("validation_split", said["validation_split"], at_least=0, below=1),
        "class_weight": class_weight,
    }


def metric_names(said):
    if said is None:
        return None
    expect(isinstance(said, list), "metrics: expected a list of names")
    for each in said:
        inner = each["callable"] if isinstance(each, dict) and each.keys() == {"callable"} else each
        expect(isinstance(inner, str), f"metrics: expected names, got {each!r:.60}")
    return said


def position_of(said, settings):
    expect(isinstance(said, list) and len(said) == 6, "position: expected six numbers")
    counts = {"epoch": said[0], "batches": said[1], "rows": said[2], "present": said[5]}
    epoch, batches, rows, present = (checks.integer(name, value, 0) for name, value in counts.items())
    lowest, highest = settings["initial_epoch"], settings["epochs"]
    expect(lowest <= epoch <= highest, f"epoch: expected {lowest} to {highest}, got {epoch}")
    expect(max(batches, rows, present) < PLACES, f"position: expected fewer than {PLACES} batches and rows")
    expect(type(said[3]) in (int, float), f"loss: expected a number, got {said[3]!r:.60}")  # infinite, in an extreme
    return Position(epoch, batches, rows, present, float(said[3]), checks.number("seconds", said[4], at_least=0))


def callback_states(said, take):
    expect(isinstance(said, list), "callbacks: expected a list")
    for each in said:
        fine = isinstance(each, list) and len(each) == 2 and isinstance(each[0], str)
        expect(fine and (each[1] is None or isinstance(each[1], dict)), "callbacks: expected names and states")
    return [(name, take(state)) for name, state in said]


def iterations_of(said, optimizer):
    """The state of an optimiser that works on all rows; None for others."""
    kind = type(optimizer).__name__
    if not isinstance(optimizer, FullBatch):
        expect(OF_ITERATIONS not in said, f"{OF_ITERATIONS}: expected none with {kind}")
        return None
    expect(optimizer.resumable, f"optimizer: expected one whose training can be kept, got {kind}")
    expect(isinstance(said.get(OF_ITERATIONS), dict), f"{OF_ITERATIONS}: expected a dict with {kind}")
    return said[OF_ITERATIONS]


def beside_loss(optimizer):
    return optimizer.names if isinstance(optimizer, FullBatch) else ("lr",)


def history_of(said, epoch, settings, take, beside):
    expect(isinstance(said, dict) and said.keys() == {"own", "lists"}, "history: expected names and lists")
    own, lists = said["own"], said["lists"]
    expect(isinstance(own, list) and isinstance(lists, dict), "history: expected names and lists")
    history = History(settings["initial_epoch"], settings["epochs"], beside)
    for name, values in lists.items():
        values = take(values)
        expect(isinstance(values, np.ndarray) and values.dtype == np.float64, f"history: {name!r:.60} is no list")
        history.history[name] = values.tolist()
    done = epoch - settings["initial_epoch"]
    for name in {*own, "loss", *beside, "seconds"} if all(isinstance(name, str) for name in own) else (None,):
        expect(len(history.history.get(name, ())) == done, f"history: expected {done} entries of {name!r:.60}")
    history._names = tuple(own)
    return history


def with_arrays(value, archive, sizes, used):
    """value with the arrays that `plain` has put aside, each taken once."""
    if isinstance(value, list):
        value[:] = [with_arrays(each, archive, sizes, used) for each in value]
    elif isinstance(value, dict) and ARRAY in value:
        expect(value.keys() == {ARRAY, "dtype", "length"}, "run: expected an array's place, dtype and length")
        name = f"run{checks.integer(ARRAY, value[ARRAY], 0)}"
        expect(name in sizes and name not in used, f"run: expected an array {name!r:.60}, once")
        used.add(name)
        dtype = np.dtype(checks.choice("dtype", value["dtype"], DTYPES))
        length = checks.integer("length", value["length"], 0)
        saving.check_size(name, sizes[name], length, dtype)  # before memory is taken
        array = np.empty(length, dtype)
        saving.read_array(archive, name, array)
        return array
    elif isinstance(value, dict):
        for key in value:
            value[key] = with_arrays(value[key], archive, sizes, used)
    return value
