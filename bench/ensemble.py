"""Many small networks at once: an Ensemble in lanes and on threads, a Python loop over fit, and JAX's vmap over a scan.

    python bench/ensemble.py [case ...] [--threads 1 2] [--rounds 7] [--json FILE]

All take the same steps from the same first weights, without shuffling, and must agree; they run interleaved, numbers
are medians. The roofline is that of `python bench` for one step (products at the FMA peak, functions at their
streaming rate; each network's state stays in cache) times the threads. Each number of threads has a process of its
own, as XLA wants it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

NETS = {"4-16-16-1": 256, "2-3-1": 256, "17-64-64-6": 64}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", default=[])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := set(given.cases) - NETS.keys():
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(NETS)}")
    return given


def prepare_process(threads):
    """Cores and environment, before NumPy and JAX are imported."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "FASTBP_THREADS"):
        os.environ[name] = str(threads)
    if threads == 1:
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"


class InEnsemble:
    """fastbp.Ensemble; `run` is "lanes" or "threads"."""

    def __init__(self, case, n, X, t, starts, threads, run, shuffle=False):
        import fastbp as fb

        self.fit = {"epochs": 1, "batch_size": case.batch, "shuffle": shuffle, "verbose": 0}
        self.X, self.t, self.starts = X, t, starts
        self.optimizer = fb.Adam(case.lr) if case.optimizer == "adam" else fb.SGD(case.lr)
        net = fb.Network(list(case.sizes), activation=case.activation, loss=case.loss, seed=0, threads=threads)
        self.nets = fb.Ensemble(net, n, run=run, threads=threads)

    def reset(self):
        for net, start in zip(self.nets, self.starts, strict=True):
            net.params[:] = start
            net._set_optimizer(self.optimizer)

    def run(self):
        self.nets.fit(self.X, self.t, **self.fit)

    def parameters(self):
        import numpy as np

        return np.array([net.params for net in self.nets])


class InPythonLoop(InEnsemble):
    """Network.fit of one network after another."""

    def run(self):
        for net in self.nets:
            net.fit(self.X, self.t, **self.fit)


class InJax:
    """A jit of a lax.scan over the batches; the step is vmapped over the networks, or the whole scan is."""

    def __init__(self, case, n, X, t, starts, threads, scan_inside):
        import jax
        import peers

        one = peers.Jax(case, X, t, [], "list, W transposed")
        self.jax, self.n, self.case = jax, n, case
        step = one.make_step()
        shape = -1, case.batch
        xs = jax.numpy.asarray(X).reshape(*shape, X.shape[1])
        ts = jax.numpy.asarray(t).reshape(*shape, t.shape[1])
        axes = (0, 0 if case.optimizer != "sgd" else None, 0 if case.optimizer == "adam" else None, None)

        def epoch(state, xs, ts, one_step):
            return jax.lax.scan(lambda state, xt: (one_step(state, *xt), None), state, (xs, ts))[0]

        if scan_inside:
            whole = jax.vmap(lambda state: epoch(state, xs, ts, step), in_axes=(axes,), out_axes=axes)
        else:
            every = jax.vmap(step, in_axes=(axes, None, None), out_axes=axes)

            def whole(state):
                return epoch(state, xs, ts, every)

        self.epoch = jax.jit(whole, donate_argnums=0)
        self.starts = starts

    def reset(self):
        jnp, at, p = self.jax.numpy, 0, []
        for i, o in zip(self.case.sizes[:-1], self.case.sizes[1:], strict=True):
            p.append(jnp.array(self.starts[:, at : at + i * o].reshape(self.n, o, i).transpose(0, 2, 1)))
            p.append(jnp.array(self.starts[:, at + i * o : at + i * o + o]))
            at += i * o + o

        def zeros(needed):
            return self.jax.tree.map(jnp.zeros_like, p) if needed else None

        optimizer = self.case.optimizer
        self.state = p, zeros(optimizer != "sgd"), zeros(optimizer == "adam"), jnp.zeros((), self.case.dtype)

    def run(self):
        self.state = self.epoch(self.state)
        self.jax.block_until_ready(self.state)

    def parameters(self):
        import numpy as np

        flat = [np.asarray(q).transpose(0, 2, 1) if q.ndim == 3 else np.asarray(q) for q in self.state[0]]
        return np.concatenate([q.reshape(self.n, -1) for q in flat], axis=1)


def contestants(case, n, X, t, starts, threads):
    common = case, n, X, t, starts, threads
    there = {
        "lanes": InEnsemble(*common, "lanes"),
        "lanes, shuffled": InEnsemble(*common, "lanes", True),
        "threads": InEnsemble(*common, "threads"),
        "loop over fit": InPythonLoop(*common, "threads"),
    }
    try:
        there["JAX vmap in scan"] = InJax(*common, False)
        there["JAX scan in vmap"] = InJax(*common, True)
    except ImportError as error:
        print(f"JAX: skipped, {error}", file=sys.stderr)
    return there


def measure(name, threads, rounds):
    import numpy as np
    import roofline
    from cases import make_data, select

    from fastbp import config

    n = NETS[name]
    case = select([name])[0]  # with its number of batches: enough that one call's own cost does not show
    X, t = make_data(case)
    rng = np.random.default_rng(1)
    starts = []
    for i, o in zip(case.sizes[:-1], case.sizes[1:], strict=True):
        starts += [rng.standard_normal((n, i * o)) / np.sqrt(i), 0.1 * rng.standard_normal((n, o))]
    starts = np.concatenate(starts, axis=1).astype(case.dtype)
    there = contestants(case, n, X, t, starts, threads)
    seconds = {what: [] for what in there}
    truth = None
    for k in range(rounds + 1):  # the first one compiles, and compares
        for what, it in there.items():
            it.reset()
            begin = time.perf_counter()
            it.run()
            seconds[what].append(time.perf_counter() - begin)
            if k == 0 and "shuffled" not in what:
                found = it.parameters()
                truth = found if truth is None else truth
                far = np.linalg.norm(found - truth) / np.linalg.norm(truth - starts)
                assert far < 0.02, f"{name}: {what} ends {far:.1e} of the way apart"
    rates = roofline.measure(config.LEVEL, case.dtype)
    least = roofline.least_seconds(case, rates, float("inf")) / threads
    return {
        "case": str(case), "nets": n, "threads": threads, "level": config.LEVEL, "roofline": least,
        "seconds": {what: statistics.median(runs[1:]) / (n * case.batches) for what, runs in seconds.items()},
    }  # fmt: skip


def show(result):
    print(f"\n{result['nets']} x {result['case']}, {result['threads']} thread(s), level {result['level']}, "
          f"roofline {1e-6 / result['roofline']:.3f} million steps/s")  # fmt: skip
    jax = min((s for what, s in result["seconds"].items() if what.startswith("JAX")), default=None)
    for what, seconds in result["seconds"].items():
        beside = "" if jax is None else f"  {jax / seconds:6.2f} x JAX"
        print(f"  {what:18} {1e-6 / seconds:8.3f} million steps/s  {100 * result['roofline'] / seconds:5.1f} %{beside}")


def main():
    given = arguments()
    names = given.cases or list(NETS)
    if given.worker:
        prepare_process(given.threads[0])
        print(json.dumps([measure(name, given.threads[0], given.rounds) for name in names]))
        return
    results = []
    for threads in given.threads:
        command = [sys.executable, *(["-P"] if sys.flags.safe_path else []), __file__, *names, "--worker",
                   "--threads", str(threads), "--rounds", str(given.rounds)]  # fmt: skip
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        results += json.loads(found.splitlines()[-1])
    for result in results:
        show(result)
    if given.json:
        with open(given.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
