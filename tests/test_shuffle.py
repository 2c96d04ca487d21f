"""The order of an epoch's rows: the twin's, at every level and dtype; even; one draw of the generator."""

import itertools

import numpy as np
import pytest
import reference

from fastbp import config, shuffle


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1, 0x0123456789ABCDEF])
def test_an_order_is_that_of_the_twin(dtype, seed):
    core = config.engine_module(np.dtype(dtype))
    for n in (0, 1, 2, 3, 8, 100, 4097):
        order = np.full(n, -1)
        core.shuffle(order, seed)
        assert np.array_equal(order, reference.permutation(seed, n)), f"seed {seed}, {n} rows"
        assert np.array_equal(np.sort(order), np.arange(n)), f"seed {seed}, {n} rows"


def test_all_orders_come_up_equally_often():
    """Of 24 counts around 1,000 chi-square exceeds 49.7, 23 degrees of freedom, once in a thousand tries."""
    rng = np.random.default_rng(0)
    times = dict.fromkeys(itertools.permutations(range(4)), 0)
    for _ in range(24_000):
        times[tuple(shuffle.permutation(rng, 4).tolist())] += 1
    assert sum((count - 1000) ** 2 / 1000 for count in times.values()) < 49.7


def test_neighbours_in_an_order_are_no_neighbours_before():
    """The share of rows that the row before precedes is 1 / n on average: some 1 of 100,000, and never 12."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        order = shuffle.permutation(rng, 100_000)
        assert np.count_nonzero(np.diff(order) == 1) < 12
        assert np.count_nonzero(order == np.arange(100_000)) < 12
        assert abs(np.corrcoef(order, np.arange(100_000))[0, 1]) < 0.02  # six standard deviations


def test_an_order_takes_one_draw_of_the_generator():
    rng, twin = np.random.default_rng(3), np.random.default_rng(3)
    shuffle.permutation(rng, 1000)
    twin.bit_generator.random_raw()
    assert rng.bit_generator.state == twin.bit_generator.state


def test_the_core_refuses_memory_that_holds_no_longs():
    core = config.engine_module(np.dtype("float32"))
    with pytest.raises(TypeError, match="buffer of long numbers"):
        core.shuffle(np.zeros(4), 0)
    with pytest.raises(ValueError, match="read-only"):
        core.shuffle(np.frombuffer(bytes(32), np.int64), 0)
    with pytest.raises(ValueError, match="not C-contiguous"):
        core.shuffle(np.zeros(8, np.int64)[::2], 0)
