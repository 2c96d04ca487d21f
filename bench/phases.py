"""How a training step divides into its phases, and how far each is from what the core can do."""

from peers import FastBP


def profile(case, X, t, start, rounds):
    """Seconds a step of each phase: pack, gather, forward, loss, dW, dX, update.

    Ticks of the CPU's counter are scaled to the time of the whole step, which is taken without the counter.
    """
    import statistics
    import time

    peer = FastBP(case, X, t, start, None)
    steps = max(1, round(0.2 / (case.flops / 50e9 + 1e-7) / peer.unit)) * peer.unit
    seconds, ticks = [], {}
    for _ in range(rounds):
        peer.reset()
        peer.run(peer.unit)
        begin = time.perf_counter()
        peer.run(steps)
        seconds.append((time.perf_counter() - begin) / steps)
        for phase, n in peer.phases().items():
            ticks[phase] = ticks.get(phase, 0) + n
    step, total = statistics.median(seconds), sum(ticks.values())
    return step, {phase: step * n / total for phase, n in ticks.items()}


def show(case, step, phases, rates):
    products = [i * o for i, o in zip(case.sizes[:-1], case.sizes[1:], strict=True)]
    flops = {
        "forward": 2 * case.batch * sum(products),
        "dW": 2 * case.batch * sum(products),
        "dX": 2 * case.batch * (sum(products) - products[0]),
    }
    print(f"\n{case}: {step * 1e6:.3f} us a step")
    for phase, seconds in phases.items():
        line = f"  {phase:8}{seconds * 1e6:12.3f} us {100 * seconds / step:5.1f} %"
        if flops.get(phase) and seconds:
            rate = flops[phase] / seconds
            line += f" {rate / 1e9:8.1f} GFLOP/s, {100 * rate / rates['flops']:.0f} % of the peak (functions included)"
        print(line)
