"""Learning rates that change: against torch's schedulers, step by step through the core, and saved."""

import math
import pickle

import numpy as np
import problems
import pytest
import reference
from snapshot import snapshot

import fastbp as fb
from fastbp.rates import Rates
from fastbp.schedules import Schedule

RNG = np.random.default_rng(20)
X = RNG.standard_normal((50, 4))
Y = RNG.standard_normal((50, 2))
EPOCHS, STEPS = 8, 7  # of 50 rows in batches of 8: the last step is a shorter one
RUN = {"epochs": EPOCHS, "batch_size": 8, "shuffle": False, "verbose": 0}


def halved(epoch):
    return 0.1 / 2**epoch


def make(**kwargs):
    return fb.Network([4, 6, 2], activation="tanh", loss="mse", dtype="float64", seed=2, **kwargs)


def all_rates(schedule, epochs=EPOCHS, steps=STEPS, history=None):
    """The rates of every step of a training, one epoch after another."""
    t = (np.arange(epochs)[:, None] + np.arange(steps) / steps).ravel()
    return schedule.rates(t, epochs, history or {})


def torch_rates(make_scheduler, steps, lr=1.0):
    """What a scheduler of torch says for every step, `step()` called after each."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = make_scheduler(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(rates)


# ---------------------------------------------------------------- what they say
# Tolerance 1e-12, relative: torch's recursive forms multiply up to 56 times, some 1e-14.


def test_step_decay_is_torchs():
    per_epoch = torch_rates(lambda s, o: s.StepLR(o, step_size=3, gamma=0.2), EPOCHS, 0.5)
    ours = all_rates(fb.StepDecay(0.5, every=3, factor=0.2)).reshape(EPOCHS, STEPS)
    np.testing.assert_allclose(ours, np.repeat(per_epoch[:, None], STEPS, 1), rtol=1e-12)
    per_step = torch_rates(lambda s, o: s.StepLR(o, step_size=3, gamma=0.2), EPOCHS * STEPS, 0.5)
    np.testing.assert_allclose(all_rates(fb.StepDecay(0.5, every=3 / STEPS, factor=0.2)), per_step, rtol=1e-12)


@pytest.mark.parametrize("steps", [1, 3, 7, 10, 49, 1000])
def test_a_stair_is_where_it_is_said_to_be(steps):
    """Whatever 0.1 and k / steps round to."""
    ours = all_rates(fb.StepDecay(1.0, every=0.1, factor=0.5), 30, steps)
    stairs = [k * 10 // steps for k in range(30 * steps)]
    np.testing.assert_array_equal(ours, 0.5 ** np.array(stairs))


def test_exponential_decay_is_torchs():
    per_epoch = torch_rates(lambda s, o: s.ExponentialLR(o, gamma=0.7), EPOCHS, 0.5)
    np.testing.assert_allclose(
        all_rates(fb.ExponentialDecay(0.5, 0.7)).reshape(EPOCHS, STEPS)[:, 0], per_epoch, rtol=1e-12
    )
    per_step = torch_rates(lambda s, o: s.ExponentialLR(o, gamma=0.7), EPOCHS * STEPS, 0.5)
    np.testing.assert_allclose(all_rates(fb.ExponentialDecay(0.5, 0.7, every=1 / STEPS)), per_step, rtol=1e-12)


@pytest.mark.parametrize("epochs", [None, 5])
def test_cosine_is_torchs_as_far_as_it_goes_down(epochs):
    for steps in (1, STEPS):
        n = (epochs or EPOCHS) * steps
        theirs = torch_rates(lambda s, o, n=n: s.CosineAnnealingLR(o, T_max=n, eta_min=0.01), n, 0.5)
        ours = all_rates(fb.Cosine(0.5, 0.01, epochs), steps=steps)
        np.testing.assert_allclose(ours[:n], theirs, rtol=1e-12)
        assert (ours[n:] == 0.01).all()


def test_one_cycle_is_torchs_but_for_the_steps_that_torch_puts_on_its_ends():
    n = 100
    theirs = torch_rates(lambda s, o: s.OneCycleLR(o, max_lr=0.5, total_steps=n), n)
    k = np.arange(n)
    peak, last = 0.3 * n - 1, n - 1
    share = np.where(k <= peak, 0.3 * k / peak, 0.3 + 0.7 * (k - peak) / (last - peak))
    schedule = fb.OneCycle(0.5)
    np.testing.assert_allclose(schedule.rates(10 * share, 10, {}), theirs, rtol=1e-12)
    # at the same step it is between what torch says of that step and of the two before
    ours = schedule.rates(k / 10, 10, {})
    low = [theirs[max(0, i - 2) : i + 1].min() for i in k]
    high = [theirs[max(0, i - 2) : i + 1].max() for i in k]
    assert np.all((ours >= np.array(low) * (1 - 1e-12)) & (ours <= np.array(high) * (1 + 1e-12)))


def test_one_cycle_stays_where_it_ends():
    rates = all_rates(fb.OneCycle(0.5, epochs=4, final_div_factor=100))
    assert (rates[4 * STEPS :] == 0.5 / 25 / 100).all()
    assert rates[0] == pytest.approx(0.5 / 25, rel=1e-15)


def test_warmup_is_torchs():
    theirs = torch_rates(lambda s, o: s.LinearLR(o, start_factor=0.25, total_iters=3 * STEPS), EPOCHS * STEPS, 0.5)
    np.testing.assert_allclose(all_rates(fb.Warmup(0.5, epochs=3, start_factor=0.25)), theirs, rtol=1e-12)


def test_after_the_warmup_the_schedule_begins_and_ends_with_the_training():
    ours = all_rates(fb.Warmup(fb.Cosine(0.5), epochs=3, start_factor=0.1))
    theirs = all_rates(fb.Cosine(0.5), epochs=EPOCHS - 3)
    np.testing.assert_allclose(ours[3 * STEPS :], theirs, rtol=1e-12)  # t - 3 is rounded
    np.testing.assert_allclose(ours[: 3 * STEPS], 0.5 * np.linspace(0.1, 1, 3 * STEPS, endpoint=False), rtol=1e-12)


@pytest.mark.parametrize("epochs", [2, 0.1, 1.5])
def test_after_the_warmup_a_function_is_asked_for_the_epochs_since(epochs):
    def given(epoch):
        assert type(epoch) is int
        return 0.5 / (1 + epoch)

    rates = all_rates(fb.Warmup(given, epochs=epochs, start_factor=0.2))
    t = np.arange(EPOCHS * STEPS) / STEPS
    line = t < epochs - 1e-9
    np.testing.assert_allclose(rates[line], 0.5 * (0.2 + 0.8 * t[line] / epochs), rtol=1e-12)
    np.testing.assert_allclose(rates[~line], [given(int(since + 1e-9)) for since in t[~line] - epochs], rtol=1e-12)
    assert len(set(rates[~line])) == math.ceil(EPOCHS - epochs)


def test_a_warmed_up_function_counts_pieces_too():
    net, twin = make(), make()
    for number in range(4):
        net.partial_fit(X, Y, optimizer=fb.SGD(fb.Warmup(halved, 2)), batch_size=50)
        rate = [0.0, halved(0) / 2, halved(0), halved(1)][number]
        assert net.history.history["lr"] == [rate]
        twin.fit(X, Y, epochs=1, batch_size=50, optimizer=fb.SGD(rate), verbose=0)
    assert (net.params == twin.params).all()
    assert (net.params != make().params).any()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("epochs", [EPOCHS, EPOCHS + 0.5, 1e6, 1e-9])
def test_a_warmup_may_be_longer_than_the_training_or_shorter_than_a_step(epochs):
    rates = all_rates(fb.Warmup(fb.OneCycle(0.5), epochs=epochs))
    assert np.isfinite(rates).all() and rates[0] == 0


@pytest.mark.parametrize("cooldown", [0, 1, 3])
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("min_lr", [0.0, 0.02])
def test_plateau_is_torchs(cooldown, mode, min_lr):
    torch = pytest.importorskip("torch")
    for seed in range(20):
        values = np.round(np.random.default_rng(seed).standard_normal(60).cumsum(), 1).tolist()
        values[7] = math.nan
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
        settings = {"factor": 0.5, "threshold": 0.1, "threshold_mode": "abs", "eps": 0, "cooldown": cooldown}
        theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode, patience=2, min_lr=min_lr, **settings)
        ours = fb.Plateau(
            0.5, "val_loss", factor=0.5, patience=3, min_delta=0.1, cooldown=cooldown, min_lr=min_lr, mode=mode
        )
        for k in range(len(values)):
            rates = ours.rates(np.arange(3.0), 60, {"val_loss": values[:k]})
            assert rates.tolist() == [optimizer.param_groups[0]["lr"]] * 3, (seed, k)
            theirs.step(values[k])


def test_what_is_better_follows_from_the_name():
    larger = (
        "val_accuracy val_r2 r2 val_auc val_top_3_accuracy val_f1 val_balanced_accuracy val_sklearn:f1_macro".split()
    )
    for name in [*larger, "loss", "val_loss", "val_mae", "val_rmse", "val_log_loss", "mine"]:
        plateau = fb.Plateau(1.0, name, patience=1)
        rising, falling = (plateau.rates(np.zeros(1), 9, {name: values})[0] for values in ([1, 2], [2, 1]))
        assert (rising, falling) == ((1.0, 0.1) if name in larger else (0.1, 1.0)), name


# ---------------------------------------------------------------- through fit

# a step by row in panels narrow enough (net 3-4-2), by row in a wider net, a packed step of few rows, of many
PATHS = {
    "narrow": ((3, 4, 2), 1, "SGD", {}),
    "row": ((3, 40, 2), 1, "SGD", {"weight_decay": 0.01}),
    "few": ((3, 12, 2), 2, "SGD", {"momentum": 0.5, "nesterov": True}),
    "batch": ((5, 9, 4), 7, "Adam", {}),
    "decoupled": ((5, 9, 4), 7, "AdamW", {"decay_bias": False}),
    "amsgrad": ((5, 9, 4), 7, "AMSGrad", {}),
    "nadam": ((5, 9, 4), 7, "NAdam", {}),
    "rmsprop": ((5, 9, 4), 7, "RMSprop", {"momentum": 0.5}),
    "adagrad": ((5, 9, 4), 7, "Adagrad", {"lr_decay": 0.01}),
    "clipped": ((3, 4, 2), 1, "SGD", {"clip_norm": 0.5, "l1": 0.01}),
}
SCHEDULES = [
    fb.StepDecay(0.1, every=0.5, factor=0.7),
    fb.Warmup(fb.Cosine(0.1, 0.01), epochs=1.5),
    fb.Plateau(0.1, "loss", patience=1, factor=0.5, min_delta=10.0),
    lambda epoch: 0.1 / (epoch + 1),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("k", range(len(SCHEDULES)))
def test_every_step_of_the_core_takes_its_rate(path, k):
    """float64 against the NumPy twin over 4 epochs, 1e-11 as in test_twin.py."""
    sizes, batch, kind, settings = PATHS[path]
    schedule = SCHEDULES[k]
    seed = problems.stable_seed(path, k)
    problem = problems.draw_problem(seed, sizes, ("tanh", "identity"), "mse", rows=23)
    net = problems.make_network(problem, "float64")
    history = net.fit(
        problem.X, problem.t, epochs=4, batch_size=batch, shuffle=False, verbose=0,
        optimizer=getattr(fb, kind)(lr=schedule, **settings),
    ).history  # fmt: skip
    params = problem.params.copy()
    layers = reference.as_layers(params, sizes, ("tanh", "identity"), (True, True))
    twin = reference.OPTIMIZERS[kind](lr=0.0, **settings)
    steps = -(-23 // batch)
    losses, last = [], []
    for epoch in range(4):
        total = 0.0
        for i in range(steps):
            t = np.array([epoch + i / steps])
            of_step = schedule.rates(t, 4, {"loss": losses}) if isinstance(schedule, Schedule) else [schedule(epoch)]
            twin.lr = float(of_step[0])
            rows = slice(i * batch, (i + 1) * batch)
            value, g, _ = reference.loss_and_grad(layers, problem.X[rows], problem.t[rows], "mse")
            twin.step(params, g, reference.biases_of(layers))
            total += value * len(problem.X[rows])
        losses.append(total / 23)
        last.append(twin.lr)
    np.testing.assert_allclose(net.params, params, rtol=1e-11, atol=1e-12, err_msg=f"{problem}")
    assert history["lr"] == last
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-11)


def test_a_schedule_of_one_rate_is_the_number():
    for kind in (fb.SGD, fb.Adam):
        nets = make(), make(), make()
        for net, lr in zip(nets, (0.01, fb.Warmup(0.01, epochs=1e-9, start_factor=1), lambda epoch: 0.01), strict=True):
            net.fit(X, Y, optimizer=kind(lr=lr), **RUN)
        assert (nets[0].params == nets[1].params).all()
        assert (nets[0].params == nets[2].params).all()


@pytest.mark.parametrize("path", PATHS)
def test_an_epoch_in_two_calls_of_the_core_has_the_bits_of_one(path):
    sizes, batch, kind, settings = PATHS[path]
    problem = problems.draw_problem(5, sizes, ("tanh", "identity"), "mse", rows=24)
    ends = []
    for cut in (24, 12 * batch if batch < 3 else batch):
        net = problems.make_network(problem, "float64")
        net._set_optimizer(getattr(fb, kind)(lr=fb.Cosine(0.1), **settings))
        net.__dict__["history"] = fb.history.History(0, 3)
        steps = -(-24 // batch)
        rates = Rates(net, 3).of_epoch(1, steps)
        done = 0
        for first, stop in ((0, cut), (cut, 24)):
            if first < stop:
                n = -(-(stop - first) // batch)
                of_part = rates.of(done, n)
                code = net._core_loss.code
                rows = np.ascontiguousarray(problem.X[first:stop]), np.ascontiguousarray(problem.t[first:stop])
                net._engine.train(*rows, None, None, stop - first, batch, code, of_part)
                done += n
        ends.append((net.params.copy(), net._engine.lr))
    assert (ends[0][0] == ends[1][0]).all()
    assert ends[0][1] == ends[1][1] == fb.Cosine(0.1).rates(np.array([1 + (steps - 1) / steps]), 3, {})[0]


@pytest.mark.parametrize("steps", [4096, 4097, 8192, 10_000])
def test_of_many_steps_some_share_a_rate(steps):
    net = make()
    net._set_optimizer(fb.SGD(lr=fb.Cosine(0.1)))
    net.__dict__["history"] = fb.history.History(0, 3)
    rates = Rates(net, 3).of_epoch(2, steps).of(0, steps)
    together = math.ceil(steps / 4096)
    t = 2 + np.arange(steps) // together * together / steps
    np.testing.assert_array_equal(rates, fb.Cosine(0.1).rates(t, 3, {}))


@pytest.mark.parametrize("lr", [fb.Cosine(0.05), fb.Warmup(fb.ExponentialDecay(0.1, 0.8), 2)], ids=str)
def test_a_training_in_two_parts_keeps_the_time(lr):
    whole, parts = make(), make()
    history = whole.fit(X, Y, optimizer=fb.Adam(lr=lr), **RUN).history
    assert parts._rng.bit_generator.state == whole._rng.bit_generator.state
    twin = make()
    rates = [Rates(whole, EPOCHS).of_epoch(number, STEPS).of(0, STEPS) for number in range(EPOCHS)]
    twin._set_optimizer(fb.Adam(lr=lr))
    for number in range(EPOCHS):
        twin._engine.train(X, Y, None, None, 50, 8, twin._core_loss.code, rates[number])
    assert (twin.params == whole.params).all()
    second = twin.fit(X, Y, **{**RUN, "epochs": EPOCHS + 2}, initial_epoch=EPOCHS).history["lr"]
    assert history["lr"] == [float(of_epoch[-1]) for of_epoch in rates]
    last = np.array([EPOCHS + 6 / 7, EPOCHS + 13 / 7])
    np.testing.assert_allclose(second, lr.rates(last, EPOCHS + 2, {}), rtol=1e-14)


def test_plateau_goes_by_the_validation_data():
    net = make()
    plateau = fb.Plateau(0.1, "val_mae", patience=2, factor=0.5, min_delta=1e3)  # the first epoch remains the best
    history = net.fit(
        X, Y, optimizer=fb.SGD(lr=plateau), validation_split=0.2, metrics=["mae"], **RUN
    ).history  # fmt: skip
    assert history["lr"] == [0.1, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.0125]


@pytest.mark.parametrize("warm", [False, True])
def test_plateau_reads_each_entry_of_the_history_once(warm):
    """A long training of a tiny net would otherwise spend its time there: epochs times epochs."""

    class Counting(list):
        reads = 0

        def __getitem__(self, k):
            Counting.reads += 1
            return super().__getitem__(k)

        def __iter__(self):
            Counting.reads += len(self)
            return super().__iter__()

    def count(net, history):
        if len(history.epochs) == 1:
            history.history["loss"] = Counting(history.history["loss"])

    net, epochs = make(), 50
    plateau = fb.Plateau(0.1, "loss", patience=1, factor=0.5, min_delta=0.05)
    lr = fb.Warmup(plateau, epochs=0.1) if warm else plateau
    history = net.fit(X, Y, epochs=epochs, optimizer=fb.SGD(lr), callbacks=count, verbose=0).history
    assert Counting.reads == epochs - 1
    losses = list(history["loss"])
    assert history["lr"] == [plateau.rates(np.zeros(1), epochs, {"loss": losses[:k]})[0] for k in range(epochs)]
    assert len(set(history["lr"])) > 2


def test_batches_take_their_rates_too():
    batches = [(X[k : k + 8], Y[k : k + 8]) for k in range(0, 50, 8)]
    whole, listed = make(), make()
    optimizer = fb.Adam(lr=fb.Cosine(0.05))
    expected = whole.fit(X, Y, optimizer=optimizer, **RUN).history["lr"]
    assert listed.fit(batches, epochs=EPOCHS, optimizer=optimizer, verbose=0).history["lr"] == expected
    np.testing.assert_array_equal(listed.params, whole.params)


def test_where_nobody_knows_how_many_batches_there_are_an_epoch_has_one_rate():
    class Stream:
        def __iter__(self):
            return ((X[k : k + 8], Y[k : k + 8]) for k in range(0, 50, 8))

    net, twin = make(), make()
    schedule = fb.Cosine(0.05)
    history = net.fit(Stream(), epochs=EPOCHS, optimizer=fb.SGD(lr=schedule), verbose=0).history
    by_epoch = {epoch: float(schedule.rates(np.array([float(epoch)]), EPOCHS, {})[0]) for epoch in range(EPOCHS)}
    twin.fit(X, Y, optimizer=fb.SGD(lr=by_epoch.__getitem__), **RUN)
    assert history["lr"] == list(by_epoch.values())
    assert (net.params == twin.params).all()


def test_more_batches_than_announced_keep_the_last_rate():
    class Batches(list):
        def __len__(self):
            return 2

    net = make()
    batches = Batches((X[k : k + 8], Y[k : k + 8]) for k in range(0, 50, 8))
    history = net.fit(batches, epochs=2, optimizer=fb.SGD(lr=fb.StepDecay(0.1, 0.5, 0.5)), verbose=0).history
    assert history["lr"] == [0.05, 0.0125]


class Squares:
    """A loss object of one's own."""

    def value_and_delta(self, outputs, targets):
        d = outputs - targets
        return float((d * d).mean()), 2 * d / d.size


def test_a_loss_of_ones_own_takes_the_same_rates():
    net, twin = make(), fb.Network([4, 6, 2], activation="tanh", loss=Squares(), dtype="float64", seed=2)
    for each in (net, twin):
        each.fit(X, Y, optimizer=fb.SGD(lr=fb.OneCycle(0.2)), **RUN)
    np.testing.assert_allclose(net.params, twin.params, rtol=1e-12)
    assert net.history.history["lr"] == twin.history.history["lr"]


def test_fit_continues_with_the_schedule_of_before():
    net = make()
    net.fit(X, Y, optimizer=fb.SGD(lr=fb.Cosine(0.1)), **RUN)
    assert net.fit(X, Y, **RUN).history["lr"] == pytest.approx(all_rates(fb.Cosine(0.1))[STEPS - 1 :: STEPS], rel=1e-14)
    assert net.optimizer == fb.SGD(lr=fb.Cosine(0.1))


# ---------------------------------------------------------------- bad ones


class Given(Schedule):
    def __init__(self, what):
        self.what = what

    def rates(self, t, epochs, history):
        return self.what


def refused(lr, error, message, **kwargs):
    return pytest.param(lr, kwargs, error, message, id=message)


@pytest.mark.parametrize(("lr", "kwargs", "error", "message"), [
    refused(lambda epoch: -1.0, ValueError, r"lr: <lambda>\(0\): expected a finite number >= 0, got -1"),
    refused(lambda epoch: "0.1", TypeError, r"lr: <lambda>\(0\): expected a number, got '0.1'"),
    refused(lambda epoch: None, TypeError, r"lr: .*None"),
    refused(lambda epoch: math.inf, ValueError, r"lr: .*inf"),
    refused(lambda epoch: 1e39, ValueError, r"optimizer: expected lr within the range of float32, got 1e\+39"),
    refused(Given(np.ones(3)), ValueError, r"lr: expected Given.rates to return 7 numbers, got an array of shape"),
    refused(Given("fast"), ValueError, "lr: expected Given.rates to return 7 numbers, got 'fast'"),
    refused(Given(None), ValueError, "lr: expected Given.rates .*None"),
    refused(Given(-np.ones(7)), ValueError, r"lr: expected finite numbers >= 0 from Given.rates, got -1 at t\[0\]"),
    refused(Given([1, 1, 1, np.nan, 1, 1, 1]), ValueError, r"lr: .*got nan at t\[3\]"),
    refused(Given(np.full(7, 1e39)), ValueError, "optimizer: expected lr within the range of float32"),
    refused(Schedule(), NotImplementedError, r"Schedule: expected a method rates"),
    refused(fb.Warmup(lambda epoch: -1.0), ValueError, r"lr: <lambda>\(0\): expected a finite number >= 0, got -1"),
    refused(fb.Plateau(0.1), ValueError, "monitor: expected one of loss, lr, seconds, got 'val_loss'; give fit valid"),
    refused(fb.Warmup(fb.Plateau(0.1, "los")), ValueError, "monitor: .*'los'"),
])  # fmt: skip
def test_bad_rates_are_refused_before_the_epoch(lr, kwargs, error, message):
    net = fb.Network([4, 6, 2], loss="mse", seed=2)
    before = net.params.tobytes()
    with pytest.raises(error, match=f"^{message}"):
        net.fit(X, Y, optimizer=fb.SGD(lr=lr), **RUN)
    assert net.params.tobytes() == before
    net.fit(X, Y, optimizer=fb.SGD(0.1), **RUN)  # and the network is as before


def test_what_is_warmed_up_is_a_rate():
    with pytest.raises(TypeError, match="^lr: expected a number, a schedule or a function, got the class Cosine"):
        fb.Warmup(fb.Cosine)
    with pytest.raises(TypeError, match="^lr: expected a number, got '0.1'"):
        fb.Warmup("0.1")
    with pytest.raises(ValueError, match="^lr: expected a finite number >= 0, got -1"):
        fb.Warmup(-1)


def test_rprop_has_no_rate_to_change():
    for lr in (fb.Cosine(0.1), lambda epoch: 0.1):
        with pytest.raises(TypeError, match="^lr: expected a number with Rprop"):
            fb.Rprop(lr=lr)


def test_a_schedule_without_its_list_is_refused_before_anything_changes():
    net = make()
    before = snapshot(net)
    with pytest.raises(ValueError, match="monitor"):
        net.fit(X, Y, optimizer=fb.SGD(lr=fb.Plateau(0.1)), **RUN)
    assert snapshot(net) == before


def test_a_rate_that_turns_bad_leaves_the_epochs_before():
    net, twin = make(), make()
    with pytest.raises(ValueError, match=r"^lr: .*\(3\)"):
        net.fit(X, Y, optimizer=fb.SGD(lr=lambda epoch: 0.1 if epoch < 3 else -1), **RUN)
    twin.fit(X, Y, optimizer=fb.SGD(0.1), **{**RUN, "epochs": 3})
    assert (net.params == twin.params).all()
    assert len(net.history.epochs) == 3


def through(net, path, way):
    """The network as it was, itself or made again."""
    if way == "file":
        net.save(path)
        return fb.load(path, lr=halved if net.optimizer.lr is halved else None)
    return {"same": lambda: net, "copy": net.copy, "pickle": lambda: pickle.loads(pickle.dumps(net))}[way]()


@pytest.mark.parametrize("way", ["same", "copy", "pickle", "file"])
@pytest.mark.parametrize(
    "lr",
    [fb.Warmup(fb.Cosine(0.1, end=0.01, epochs=3), epochs=1.5), fb.StepDecay(0.1, every=2), halved],
    ids=["warmup", "steps", "function"],
)
def test_to_a_schedule_the_pieces_are_epochs(lr, way, tmp_path):
    whole, net = make(), make()
    whole.fit(X, Y, **{**RUN, "epochs": 6}, optimizer=fb.SGD(lr, momentum=0.5))
    rates = []
    for piece in range(6):
        if piece == 2:
            net.fit(X, Y, epochs=3, initial_epoch=2, **{k: v for k, v in RUN.items() if k != "epochs"})
        else:
            net.partial_fit(X, Y, batch_size=RUN["batch_size"], shuffle=False, optimizer=fb.SGD(lr, momentum=0.5))
        assert list(net.history.epochs) == [piece + 1]
        rates += net.history.history["lr"]
        net = through(net, tmp_path / "net", way)
    assert rates == whole.history.history["lr"]
    assert net.params.tobytes() == whole.params.tobytes()
    net.partial_fit(X, Y, optimizer=fb.SGD(lr))  # another optimiser: from its beginning
    assert list(net.history.epochs) == [1]


def test_a_schedule_of_ones_own_knows_no_end_of_pieces():
    class Ends(Schedule):
        def rates(self, t, epochs, history):
            ends.append(epochs)
            return 0.1 * (1 - t / epochs)

    ends, lr, net = [], Ends(), make()
    for _ in range(2):
        net.partial_fit(X, Y, optimizer=fb.SGD(lr))
    assert ends == [math.inf] * 2 and net.history.history["lr"] == [0.1]


@pytest.mark.parametrize("lr", [fb.Cosine(0.1), fb.OneCycle(0.1), fb.Plateau(0.1, "loss")], ids=str)
def test_pieces_have_no_end_and_no_history(lr):
    net = make()
    for schedule in (lr, fb.Warmup(lr)):
        before = snapshot(net)
        with pytest.raises(ValueError, match="^optimizer: expected .*partial_fit.*got lr="):
            net.partial_fit(X, Y, optimizer=fb.SGD(lr=schedule))
        assert snapshot(net) == before
    net.fit(X, Y, optimizer=fb.SGD(lr=lr), **RUN)
    with pytest.raises(ValueError, match="^optimizer: expected .*partial_fit"):
        net.partial_fit(X, Y)
    net.partial_fit(X, Y, optimizer=fb.SGD(0.1))


@pytest.mark.parametrize(("rates", "error"), [
    (np.ones(6), ValueError), (np.ones(8), ValueError), (np.ones(7, np.float32), TypeError),
    (np.full(7, -1.0), ValueError), (np.full(7, np.nan), ValueError), (np.full(7, np.inf), ValueError),
    ([1.0] * 7, TypeError),
])  # fmt: skip
def test_the_core_refuses_rates_that_it_cannot_use(rates, error):
    net = make()
    net._set_optimizer(fb.SGD(0.1))
    before = net.params.tobytes()
    with pytest.raises(error):
        net._engine.train(X, Y, None, None, 50, 8, net._core_loss.code, rates)
    assert net.params.tobytes() == before


# ---------------------------------------------------------------- as objects

ALL = [
    fb.StepDecay(0.1, 3), fb.ExponentialDecay(0.1, 0.9, every=2), fb.Cosine(0.1, 0.01, 5.5), fb.OneCycle(0.1),
    fb.OneCycle(0.1, 7, pct_start=0.2, div_factor=3, final_div_factor=9),
    fb.Warmup(0.1), fb.Warmup(fb.Cosine(0.1), 3, 0.5), fb.Warmup(fb.Warmup(fb.Plateau(0.1, "loss"))),
    fb.Plateau(0.1, "loss", factor=0.3, patience=4, min_delta=0.1, cooldown=2, min_lr=1e-4, mode="max"),
]  # fmt: skip


@pytest.mark.parametrize("schedule", ALL, ids=str)
def test_schedules_are_values(schedule, tmp_path):
    assert eval(repr(schedule), vars(fb)) == schedule
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    with pytest.raises(AttributeError):
        schedule.lr = 1
    net = make()
    net.fit(X, Y, optimizer=fb.AdamW(lr=schedule), **{**RUN, "epochs": 3})
    net.save(tmp_path / "net")
    for twin in (fb.load(tmp_path / "net"), net.copy(), pickle.loads(pickle.dumps(net))):
        assert twin.optimizer == net.optimizer and twin._engine.lr == net._engine.lr or twin._engine.lr == 0
        assert twin.optimizer.lr == schedule
        run = {**RUN, "epochs": 5, "initial_epoch": 3}
        kept = net.copy()
        kept.fit(X, Y, **run)
        twin.fit(X, Y, **run)
        assert (twin.params == kept.params).all()


def test_a_function_is_saved_by_name_and_given_again(tmp_path):
    path = tmp_path / "net"
    net = make()
    net.fit(X, Y, optimizer=fb.SGD(lr=halved), **{**RUN, "epochs": 3})
    net.save(path)
    assert fb.load(path).optimizer == fb.SGD(0.1 / 4)  # the rate of the last step
    assert fb.load(path, lr=halved).optimizer == fb.SGD(lr=halved)
    with pytest.raises(ValueError, match="lr: expected .*'halved', got '<lambda>'"):
        fb.load(path, lr=lambda epoch: 0.1)
    with pytest.raises(ValueError, match="lr: expected .*'halved', got 'Cosine'"):
        fb.load(path, lr=fb.Cosine(0.1))
    net.copy().save(path)
    assert fb.load(path).optimizer == fb.SGD(0.1 / 4)
    net.fit(X, Y, optimizer=fb.SGD(0.1), **RUN)
    net.save(path)
    with pytest.raises(ValueError, match="lr: expected None"):
        fb.load(path, lr=halved)


def test_a_warmed_up_function_is_saved_by_both_names(tmp_path):
    path, warmed, net = tmp_path / "net", fb.Warmup(halved, epochs=1.5), make()
    net.fit(X, Y, optimizer=fb.SGD(lr=warmed), **{**RUN, "epochs": 3})
    net.save(path)
    assert fb.load(path).optimizer == fb.SGD(net.history.history["lr"][-1])
    assert fb.load(path, lr=warmed).optimizer == fb.SGD(lr=warmed)
    with pytest.raises(ValueError, match=r"lr: expected .*'Warmup\(halved\)', got 'Warmup\(<lambda>\)'"):
        fb.load(path, lr=fb.Warmup(lambda epoch: 0.1, epochs=1.5))
    assert pickle.loads(pickle.dumps(net)).optimizer == net.optimizer
    assert eval(repr(fb.Warmup(0.1)), vars(fb)) == fb.Warmup(0.1)


def test_a_schedule_of_ones_own_is_saved_by_its_class(tmp_path):
    path = tmp_path / "net"
    net = make()
    schedule = Given(np.full(STEPS, 0.25))
    net.fit(X, Y, optimizer=fb.SGD(lr=schedule), **{**RUN, "epochs": 1})
    net.save(path)
    assert fb.load(path).optimizer == fb.SGD(0.25)
    assert fb.load(path, lr=schedule).optimizer.lr is schedule


def test_a_function_that_cannot_be_pickled_leaves_its_last_rate():
    net = make()
    net.fit(X, Y, optimizer=fb.SGD(lr=lambda epoch: 0.5 / (epoch + 1)), **{**RUN, "epochs": 2})
    assert pickle.loads(pickle.dumps(net)).optimizer == fb.SGD(0.25)
    assert net.copy().optimizer == net.optimizer  # it need not be pickled
    net.fit(X, Y, optimizer=fb.SGD(lr=halved), **{**RUN, "epochs": 2})
    assert pickle.loads(pickle.dumps(net)).optimizer == fb.SGD(lr=halved)
