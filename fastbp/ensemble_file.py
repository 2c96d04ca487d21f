"""An ensemble in one file: an .npz of JSON that says what it has of its own, and the file of each member, as bytes."""

import io

import numpy as np

from . import checks, description, saving
from .description import expect

VERSION = 1
KEYS = {"version", "members", "lr", "weight_decay", "bootstrap", "run", "threads"}
RUNS = ("auto", "lanes", "threads")
REFUSAL = "no ensemble can be loaded"


def save(ensemble, path, optimizer):
    """See Ensemble.save."""
    import json

    path, optimizer = saving.path_of(path), checks.boolean("optimizer", optimizer)
    said = {
        "version": VERSION, "members": len(ensemble), "lr": ensemble.lr, "weight_decay": ensemble.weight_decay,
        "bootstrap": ensemble.bootstrap, "run": ensemble.run, "threads": ensemble.threads,
    }  # fmt: skip
    text = json.dumps(said).encode("ascii")
    if len(text) > saving.MOST_DESCRIPTION:
        raise ValueError(f"ensemble: expected a description of at most {saving.MOST_DESCRIPTION} bytes")
    arrays = {"ensemble": np.array(text)}
    for i, member in enumerate(ensemble):
        file = io.BytesIO()
        saving.savez(file, saving.members_of(member, optimizer))
        arrays[f"member{i}"] = np.frombuffer(file.getbuffer(), np.uint8)
    saving.write(path, lambda file: saving.savez(file, arrays))


def load(path, lr):
    """The networks in a file, and what else it says, by name."""
    return saving.guarded(path, REFUSAL, lambda file: read(file, lr))


def read(file, lr):
    import zipfile

    with zipfile.ZipFile(file) as archive:
        sizes = saving.member_sizes(archive, saving.size_of(file), belongs, "an ensemble, got no such file")
        said = settings_of(saving.text_of(archive, "ensemble", sizes))
        n = said.pop("members")
        expect(len(sizes) == n + 1, f"members: expected {n}, got {len(sizes) - 1}")
        networks, took_lr = [], False
        for i in range(n):
            name = f"member{i}"
            expect(name in sizes, f"{name}: not in the file")
            network, takes_lr = member_of(archive, name, sizes[name], lr)
            if networks:
                check_alike(network, networks[0], i)
            networks.append(network)
            took_lr = took_lr or takes_lr
    expect(lr is None or took_lr, "lr: expected None, no member has a learning rate of one's own")
    return networks, said


def belongs(name):
    return name == "ensemble" or name.startswith("member") and len(name) < 15 and name[6:].isdecimal()


def settings_of(text):
    said = description.json_of(text)
    expect(isinstance(said, dict) and said.get("version") == VERSION, f"ensemble: expected version {VERSION}")
    expect(said.keys() == KEYS, f"ensemble: expected the keys {sorted(KEYS)}, got {sorted(said)!r:.200}")
    n = checks.positive_int("members", said["members"])
    numbers = {}
    for name in ("lr", "weight_decay"):
        values = said[name]
        expect(values is None or isinstance(values, list) and len(values) == n, f"{name}: expected {n} numbers")
        numbers[name] = None if values is None else tuple(checks.number(name, each, at_least=0) for each in values)
    return {
        "members": n, **numbers, "bootstrap": checks.boolean("bootstrap", said["bootstrap"]),
        "run": checks.choice("run", said["run"], RUNS), "threads": checks.threads("threads", said["threads"]),
    }  # fmt: skip


def member_of(archive, name, size, lr):
    """The network, and whether it has taken `lr`."""
    length = size - saving.HEADER
    expect(length > 0, f"{name}: expected a file of a network")
    contents = np.empty(length, np.uint8)
    saving.read_array(archive, name, contents)
    file = saving.CautiousBytes(contents)
    del contents
    network, described = saving.read(file, None, None, lambda archive, sizes, network, described: (network, described))
    if lr is None or description.name_of_rate(described) is None:
        return network, False
    return saving.read(file, None, lr, lambda archive, sizes, network, described: network), True


def check_alike(network, first, i):
    for what in ("n_inputs", "layers", "objective", "dtype", "missing_targets"):
        expect(getattr(network, what) == getattr(first, what), f"member{i}: {what} other than those of the first")
