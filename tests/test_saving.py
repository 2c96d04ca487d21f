"""save and load: what comes back, files of this release, damaged and hostile files, a crash while writing."""

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path

import forging
import numpy as np
import optimizers
import pytest
from forging import npy
from snapshot import snapshot

import fastbp as fb

RNG = np.random.default_rng(3)
X = RNG.standard_normal((40, 3)).astype(np.float32)
LABELS = RNG.integers(0, 2, 40)
GOLDEN = Path(__file__).parent / "golden" / "network-1.npz"
OPTIMIZERS = [
    None,
    fb.SGD(0.1),
    fb.SGD(0.1, momentum=0.9, nesterov=True),
    fb.Adam(0.01),
    fb.AdamW(0.01),
    *optimizers.FEW,
]


class Squares:
    """A loss object of one's own."""

    def value_and_delta(self, outputs, targets):
        return float((outputs**2).mean()), 2 * outputs / outputs.size


def trained(optimizer=None, epochs=2, batch_size=32, **kwargs):
    net = fb.Network([3, 4, 2], **{"seed": 5, "activation": "tanh", **kwargs})
    if optimizer is not None:
        net.fit(X, LABELS, epochs=epochs, batch_size=batch_size, optimizer=optimizer, verbose=0)
    return net


def saved_and_loaded(net, path, loss=None, **kwargs):
    net.save(path, **kwargs)
    return fb.load(path, loss=loss)


def without_history(net):
    return {**snapshot(net), "history": None}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_a_loaded_network_is_the_saved_one_and_continues_like_it(optimizer, dtype, tmp_path):
    net = trained(optimizer, dtype=dtype, threads=1)
    before = snapshot(net)
    twin = saved_and_loaded(net, tmp_path / "net")
    assert snapshot(net) == before
    assert without_history(twin) == without_history(net)
    assert twin.history is None
    for each in (net, twin):
        each.fit(X, LABELS, epochs=3, batch_size=7, verbose=0)
    assert without_history(twin) == without_history(net)
    assert twin.history.history["loss"] == net.history.history["loss"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rprop_goes_on_like_the_saved_one(dtype, tmp_path):
    net = trained(optimizers.RPROP, batch_size=40, dtype=dtype)
    twin = saved_and_loaded(net, tmp_path / "net")
    for each in (net, twin):
        each.fit(X, LABELS, epochs=3, batch_size=40, verbose=0)
    assert without_history(twin) == without_history(net)


def test_without_the_optimizer_the_file_is_smaller_and_the_rest_the_same(tmp_path):
    net = trained(fb.Adam())
    net.save(tmp_path / "with")
    twin = saved_and_loaded(net, tmp_path / "without", optimizer=False)
    assert twin.optimizer is None
    assert (twin.predict(X) == net.predict(X)).all()
    assert net.optimizer == fb.Adam()
    assert os.path.getsize(tmp_path / "without") < os.path.getsize(tmp_path / "with")


@pytest.mark.parametrize("loss", [
    "mse", "mae", fb.Huber(2.5), fb.Quantile(0.1), "poisson", fb.CrossEntropy(0.1), "binary_cross_entropy", "hinge",
])  # fmt: skip
@pytest.mark.parametrize("output", [None, "identity"])
def test_every_loss_and_its_parameter_come_back(loss, output, tmp_path):
    net = fb.Network([3, fb.Dense(5, "gelu", bias=False), fb.Dense(4, "softmax"), 2], loss=loss, output=output)
    twin = saved_and_loaded(net, tmp_path / "net")
    assert (twin.objective, twin.layers, twin.seed) == (net.objective, net.layers, None)
    assert (twin.predict(X) == net.predict(X)).all()


def test_a_loss_object_of_ones_own_is_given_again(tmp_path):
    loss = Squares()
    net = trained(fb.Adam(), loss=loss)
    twin = saved_and_loaded(net, tmp_path / "net", loss=loss)
    assert twin.objective is loss
    for each in (net, twin):
        each.fit(X, LABELS, epochs=2, verbose=0)
    assert (twin.params == net.params).all()
    for wrong in (None, "mse", type("Cubes", (Squares,), {})()):
        with pytest.raises(ValueError, match=r"net: no .*loss=.*'Squares'"):
            fb.load(tmp_path / "net", loss=wrong)
    trained().save(tmp_path / "net")
    with pytest.raises(ValueError, match="net: no .*expected None, for the file has 'CrossEntropy'"):
        fb.load(tmp_path / "net", loss=loss)


@pytest.mark.parametrize("init", [np.ones((2, 3)), lambda shape, rng: np.ones(shape)], ids=["array", "callable"])
def test_an_init_that_has_done_its_work_becomes_auto(init, tmp_path):
    twin = saved_and_loaded(fb.Network([3, 2], init=init), tmp_path / "net")
    assert (twin.weights[0] == 1).all()
    assert twin.layers == (fb.Dense(2, "softmax"),)


def test_numpy_reads_the_file(tmp_path):
    net = trained(fb.Adam())
    net.save(tmp_path / "net.npz")
    with np.load(tmp_path / "net.npz") as arrays:
        assert (arrays["params"] == net.params).all()
        assert json.loads(arrays["description"].item())["fastbp"] == fb.__version__


def test_the_same_network_makes_the_same_file(tmp_path):
    for name in "ab":
        trained(fb.Adam()).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def golden():
    """What the file of this release was made from: ``golden().save(GOLDEN)``. No number depends on a generator."""
    net = fb.Network([2, fb.Dense(3, "tanh", bias=False), 2], loss=fb.CrossEntropy(0.25), init="zeros", seed=7)
    net.fit([[0, 0]], [0], epochs=1, shuffle=False, optimizer=fb.AdamW(0.125, betas=(0.5, 0.75)), verbose=0)
    for k, array in enumerate((net.params, np.asarray(net._engine.first), np.asarray(net._engine.second))):
        array[:] = np.arange(14 * k, 14 * k + 14) / 16
    net._engine.steps = 11
    return net


def test_a_file_of_the_first_version_of_the_format_loads():
    assert without_history(fb.load(GOLDEN)) == without_history(golden())


def test_a_network_with_parameters_that_are_not_finite_is_not_saved(tmp_path):
    net = trained()
    net.save(tmp_path / "net")
    net.params[3] = np.inf
    with pytest.raises(ValueError, match="^params: expected finite numbers, got inf at index 3"):
        net.save(tmp_path / "net")
    assert np.isfinite(fb.load(tmp_path / "net").params).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda net: net.save(5), TypeError, "^path: .*5 of type int"),
        (lambda net: net.save(b"net"), TypeError, "^path: .*bytes"),
        (lambda net: net.save("net", optimizer=1), TypeError, "^optimizer: .*1"),
        (lambda net: net.save("no/net"), OSError, "no/"),
        (lambda net: net.save("folder"), OSError, "folder"),
        (lambda net: fb.load(None), TypeError, "^path: .*None"),
        (lambda net: fb.load("missing"), FileNotFoundError, "missing"),
        (lambda net: fb.load("folder"), ValueError, "folder: .*regular file"),
        (lambda net: fb.load(os.devnull), ValueError, "regular file"),
        (lambda net: fb.load("net", loss=5), TypeError, "^loss: "),
    ],
)
def test_bad_arguments_are_refused_and_leave_nothing_behind(call, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    trained().save("net")
    with pytest.raises(error, match=message):
        call(trained())
    assert sorted(os.listdir()) == ["folder", "net"]


# ------------------------------------------------------------------------------------------------ damaged, hostile


def contents(net):
    """Description and arrays of the file of a network."""
    net.save("as.npz")
    description, held = forging.contents("as.npz", "description")
    os.unlink("as.npz")
    return description, held


def forge(description, arrays, path="net", compression=zipfile.ZIP_STORED):
    forging.forge({"description": description}, arrays, path, compression)


def described(**changes):
    return lambda d, a: ({**d, **changes}, a)


def layer(**changes):
    return lambda d, a: ({**d, "layers": [d["layers"][0] | changes, *d["layers"][1:]]}, a)


def arrays(**changes):
    return lambda d, a: (d, {**a, **changes})


def without(key):
    return lambda d, a: ({k: v for k, v in d.items() if k != key}, {k: v for k, v in a.items() if k != key})


def changed(name, value, at=2):
    def change(d, a):
        a[name][at] = value
        return d, a

    return change


class Explodes:
    def __reduce__(self):
        return os.mkdir, ("executed",)


PARAMS = np.zeros(26, np.float32)
HOSTILE = {
    "no version": (without("version"), "version: expected 1"),
    "later version": (described(version=3, fastbp="9.0"), "version: expected 1 to 2 of the format, got 3, .*9.0"),
    "version 0": (described(version=0), "version: .*got 0"),
    "version 1 with a key of version 2": (described(version=1), "keys .*momentum_product"),
    "version 1 with fields of version 2": (
        lambda d, a: ({k: v for k, v in d.items() if k != "momentum_product"} | {"version": 1}, a),
        "optimizer: expected the fields .*amsgrad",
    ),
    "version 1 with an optimizer of version 2": (
        lambda d, a: (
            {k: v for k, v in d.items() if k != "momentum_product"} | {"version": 1, "optimizer": {"name": "NAdam"}},
            a,
        ),
        "optimizer: .*'NAdam'",
    ),
    "version of another type": (described(version=True), "version: "),
    "other kind": (described(kind="torch"), "kind"),
    "unknown key": (described(more=1), "keys .*more"),
    "missing key": (without("rng"), "keys"),
    "a list": (lambda d, a: ([d], a), "kind"),
    "no JSON": (lambda d, a: (b"{", a), "Expecting property name"),
    "not ASCII": (lambda d, a: (b"\xff", a), "ascii"),
    "deep JSON": (lambda d, a: (b"[" * 100_000, a), "recursion"),
    "JSON of many lists": (lambda d, a: (b"[" + b"[]," * 340_000 + b"[]]", a), "kind"),
    "an integer without end": (lambda d, a: (b'{"seed": ' + b"9" * 500_000 + b"}", a), "500000 digits"),
    "description of 2 MB": (lambda d, a: (json.dumps(d).encode() + b" " * 2_000_000, a), "description: .*1048576"),
    "description as text": (lambda d, a: (d, {**a, "description": np.array("{}")}), "description: .*U2"),
    "more layers than parameters": (lambda d, a: ({**d, "layers": d["layers"] * 5}, a), "params: expected"),
    "no layers": (described(layers=[]), "layers: "),
    "layers in a dict": (described(layers={"0": 1}), "layers: "),
    "a number for a layer": (described(layers=[4, 2]), "layers: "),
    "huge layer": (layer(units=10**15), "params: expected 6000000000000002 numbers"),
    "beyond 64 bits": (layer(units=2**70), "params: expected"),
    "huge inputs": (described(inputs=2**62), "params: expected"),
    "negative units": (layer(units=-4), "units: .*-4"),
    "units of another type": (layer(units=4.0), "units: .*4.0"),
    "wider layer": (layer(units=5), "params: expected 32 numbers of float32 in 256 bytes, got 232 bytes"),
    "no bias": (layer(bias=False), "params: expected 22 numbers"),
    "bias of another type": (layer(bias=1), "bias: "),
    "unknown activation": (layer(activation="sin"), "activation: .*sin"),
    "activation of another type": (layer(activation=["tanh"]), "activation: "),
    "init of another type": (layer(init=[[0] * 3] * 4), "layers: "),
    "unknown init": (layer(init="bogus"), "init: .*bogus"),
    "unknown field": (layer(scale=2), "layers: .*scale"),
    "unknown loss": (described(loss={"name": "Loss"}), "loss: .*'Loss'"),
    "loss without a name": (described(loss={}), "loss: "),
    "loss of another type": (described(loss="mse"), "loss: "),
    "loss with a bad parameter": (described(loss={"name": "Huber", "delta": -1}), "delta: .*-1"),
    "loss beyond float32": (described(loss={"name": "Huber", "delta": 1e39}), "loss: .*1e\\+39"),
    "loss that the output does not go with": (described(loss={"name": "Poisson"}), "output: .*'softmax'"),
    "loss object": (described(loss={"object": "Squares"}), "loss: .*'Squares'"),
    "loss object of another type": (described(loss={"object": {}}), "loss: "),
    "unknown dtype": (described(dtype="float16"), "dtype: .*float16"),
    "another dtype": (described(dtype="float64"), "params: .*336 bytes, got 232"),
    "dtype of another type": (described(dtype=["float32"]), "dtype: "),
    "negative seed": (described(seed=-1), "seed: .*-1"),
    "seed of another type": (described(seed="1"), "seed: "),
    "threads": (described(threads=10**9), "threads: .*1000000000"),
    "rng of another type": (described(rng=[]), "rng: "),
    "rng without a state": (described(rng={"bit_generator": "PCG64"}), "rng: "),
    "other generator": (lambda d, a: ({**d, "rng": {**d["rng"], "bit_generator": "MT19937"}}, a), "rng: "),
    "rng too large": (lambda d, a: ({**d, "rng": {**d["rng"], "uinteger": 2**32}}, a), "rng: "),
    "rng even": (lambda d, a: ({**d, "rng": {**d["rng"], "state": {"state": 1, "inc": 2}}}, a), "rng: .*odd"),
    "unknown optimizer": (described(optimizer={"name": "Optimizer"}), "optimizer: .*'Optimizer'"),
    "optimizer of another type": (described(optimizer=3), "optimizer: "),
    "optimizer without fields": (described(optimizer={"name": "Adam"}), "optimizer: .*betas"),
    "bad learning rate": (lambda d, a: ({**d, "optimizer": {**d["optimizer"], "lr": -1}}, a), "lr: .*-1"),
    "learning rate that is none": (lambda d, a: ({**d, "optimizer": {**d["optimizer"], "lr": np.nan}}, a), "lr: .*nan"),
    "learning rate beyond float32": (
        lambda d, a: ({**d, "optimizer": {**d["optimizer"], "lr": 1e300}}, a),
        "optimizer: ",
    ),
    "negative steps": (described(steps=-1), "steps: .*-1"),
    "too many steps": (described(steps=2**64), "steps: "),
    "negative epochs": (described(epochs=-1), "epochs: .*-1"),
    "too many epochs": (described(epochs=2**64), "epochs: "),
    "epochs of another type": (described(epochs=[1]), "epochs: "),
    "product of momenta above 1": (described(momentum_product=1.5), "momentum_product: .*1.5"),
    "product of momenta that is none": (described(momentum_product=np.nan), "momentum_product: .*nan"),
    "product of momenta of another type": (described(momentum_product="1"), "momentum_product: "),
    "a third vector for nothing": (arrays(third=PARAMS), "arrays: params, first, second, got .*third"),
    "no third vector": (
        lambda d, a: ({**d, "optimizer": d["optimizer"] | {"amsgrad": True}}, a),
        "arrays: params, first, second, third, got",
    ),
    "a clipping that cannot be": (
        lambda d, a: ({**d, "optimizer": d["optimizer"] | {"clip_norm": 0}}, a),
        "clip_norm: .*0",
    ),
    "state without optimizer": (described(optimizer=None), "arrays: params, got .*first"),
    "optimizer without state": (without("first"), "arrays: params, first, second, got"),
    "no parameters": (without("params"), "params: "),
    "unknown array": (arrays(more=PARAMS), "'more.npy'"),
    "too few parameters": (arrays(params=PARAMS[:25]), "params: expected 26 numbers"),
    "too few means": (arrays(second=PARAMS[:0]), "second: expected 26 numbers"),
    "parameters in two dimensions": (arrays(params=PARAMS.reshape(2, 13)), "params: .*\\(2, 13\\)"),
    "parameters in the other byte order": (arrays(params=PARAMS.astype(">f4")), "params: .*>f4"),
    "parameters as integers": (arrays(params=PARAMS.astype("i4")), "params: .*i4"),
    "NaN": (changed("params", np.nan), "params: expected finite numbers, got nan at index 2"),
    "infinity in the state": (changed("first", -np.inf), "first: expected finite numbers, got -inf at index 2"),
    "negative square": (changed("second", -1), "second: .*-1.0 at index 2"),
    "pickle": (arrays(params=npy(np.array([Explodes()] * 26), allow_pickle=True)), "params: "),
    "pickle of the right size": (arrays(params=npy(PARAMS).replace(b"<f4", b"|O8")), "params: .*O8"),
    "no NumPy array": (arrays(params=b"x" * 232), "params: .*xxx"),
    "a shape that the numbers do not fill": (
        arrays(params=npy(PARAMS).replace(b"(26,)", b"(99,)")),
        "params: expected an array .*26.*, got .*99",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_with_the_reason(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    change, message = HOSTILE[name]
    description, held = contents(trained(fb.Adam()))
    forge(description, held)
    assert (fb.load("net").params == held["params"]).all()  # what is changed below is all that is wrong with it
    description, held = change(description, held)
    forge(description, held)
    tracemalloc.start()
    with pytest.raises(ValueError, match=f"(?s)^net: no network .*{message}") as caught:
        fb.load("net")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(str(caught.value)) < 500
    assert peak < 3 * os.path.getsize("net") + 64e6, peak
    assert os.listdir() == ["net"]


def zip_bomb(path):
    """Zeros, a thousandth of their size."""
    description, held = contents(trained(fb.Adam()))
    description["layers"][0]["units"] = 10**7
    held["params"] = np.zeros(3 * 10**7 + 10**7 + 2 * 10**7 + 2, np.float32)
    forge(description, held, path, zipfile.ZIP_DEFLATED)


def many_entries(path):
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(60_000):
            archive.writestr(str(k), b"")


def claimed_sizes(path):
    """A directory that says that the parameters take 3 GB."""
    forge(*contents(trained(fb.Adam())), path)
    raw = path.read_bytes()
    assert raw.count((232).to_bytes(4, "little") * 2) == 6
    path.write_bytes(raw.replace((232).to_bytes(4, "little") * 2, (3 << 30).to_bytes(4, "little") * 2))


def claimed_directory(path):
    """The record at the end says that the directory takes 3 GB and starts before the file."""
    forge(*contents(trained(fb.Adam())), path)
    raw = bytearray(path.read_bytes())
    raw[-10:-6] = (3 << 30).to_bytes(4, "little")
    path.write_bytes(raw)


def sparse(path):
    with open(path, "wb") as file:
        file.truncate(1 << 40)


@pytest.mark.parametrize("make", [zip_bomb, many_entries, claimed_sizes, claimed_directory, sparse])
def test_archives_that_claim_much_take_little_memory(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "net")
    tracemalloc.start()
    with pytest.raises(ValueError, match="^net: no network"):
        fb.load("net")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64e6, peak


def test_the_network_of_most_layers_stays_within_the_bound(tmp_path):
    """Layer after layer of one unit: most memory for a byte of the file. Measured from outside, the core included."""
    net = fb.Network([1] + [fb.Dense(1, "exp", bias=False, init="zeros")] * 15_000, loss="mse")
    net.save(tmp_path / "net")
    trained().save(tmp_path / "small")
    program = """if True:
        import resource, fastbp as fb
        fb.load("small")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        fb.load("net")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run([sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    grown = int(done.stdout) * (1 if sys.platform == "darwin" else 1024)
    assert grown < 3 * os.path.getsize(tmp_path / "net") + 64e6, grown


@pytest.fixture
def small(tmp_path):
    """The path of a file of 1,700 bytes, what is in it, and the network's state."""
    net = fb.Network([1, 2, 1], loss="mse", seed=0)
    net.fit([[1.0]], [1.0], verbose=0)
    path = tmp_path / "net"
    net.save(path)
    return path, path.read_bytes(), without_history(net)


def refused(path, raw, state, where):
    """Whether the file is; a network that comes from it all the same is the one that was saved."""
    path.write_bytes(raw)
    try:
        net = fb.load(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: no network"), (where, error)
        return True
    assert without_history(net) == state, where
    return False


@pytest.mark.parametrize("flip", [0x01, 0xFF])
def test_a_changed_byte_is_found_or_does_not_matter(small, flip):
    """What does not matter: dates, versions and attributes of the archive's entries."""
    path, raw, state = small
    found = 0
    for at in range(len(raw)):
        altered = bytearray(raw)
        altered[at] ^= flip
        found += refused(path, altered, state, f"byte {at} ^ {flip:#x}")
    assert found > 0.8 * len(raw), found


def test_every_shorter_file_is_refused(small):
    path, raw, state = small
    assert all(refused(path, raw[:length], state, f"{length} bytes") for length in range(len(raw)))
    assert refused(path, raw[200:], state, "without its beginning")


# ------------------------------------------------------------------------------------------------------- crashes


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_a_failed_save_leaves_the_old_file_and_no_other(step, error, tmp_path, monkeypatch):
    def fails(*args):
        raise error

    trained().save(tmp_path / "net")
    old = (tmp_path / "net").read_bytes()
    monkeypatch.setattr(os, step, fails)
    with pytest.raises(type(error)):
        trained(fb.Adam()).save(tmp_path / "net")
    assert (tmp_path / "net").read_bytes() == old
    assert os.listdir(tmp_path) == ["net"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "net")
    trained().save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert fb.load(tmp_path / "net").n_params == trained().n_params


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_process_that_is_killed_leaves_a_whole_file(tmp_path):
    """Killed at 20 moments while it saves networks, each of one number throughout."""
    program = """if True:
        import itertools, fastbp as fb
        net = fb.Network([200, 200, 1], loss="mse", seed=0)
        for k in itertools.count(1):
            net.params[:] = k
            net.save("net")
            if k == 1: print(flush=True)
    """
    for k in range(20):
        command = [sys.executable, "-P", "-c", program]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as child:
            child.stdout.readline()
            time.sleep(0.003 * k + 0.01)
            child.send_signal(signal.SIGKILL)
        params = fb.load(tmp_path / "net").params
        assert params[0] >= 1
        assert (params == params[0]).all()
