"""Widths, depths and numbers of rows at every boundary of the core's vectors, tiles and blocks, and one to each side.

The boundaries: VL lanes of a vector, pairs and triples of vectors (src/tile.h), up to 6 or 8 rows of a tile,
depth blocks of 256 and row blocks of 256 (src/plan.pxd). Odd shapes of whole networks stand at the end.
"""

import itertools

import numpy as np
import pytest
from comparison import DTYPES, TOLERANCE, relative_error
from passes import by_fastbp, by_twin, check_pass
from problems import ACTIVATIONS, LOSSES, output_of, stable_seed, vector_lanes, wide_enough
from wellposed import KINKED_LOSSES, KINKS, draw_well_posed

import fastbp as fb

SMOOTH = [a for a in ACTIVATIONS if a not in KINKS and a != "exp"]
SMOOTH_LOSSES = [v for v in LOSSES if LOSSES[v][0] not in KINKED_LOSSES]
AROUND_256 = (255, 256, 257, 513)


def widths_around_vectors(dtype):
    return sorted({n for k in (1, 2, 3) for n in (k * vector_lanes(dtype) + d for d in (-1, 0, 1))} | {1})


def check_shape(sizes, rows, dtype, variants=SMOOTH_LOSSES):
    """Activations, loss, biases and weights follow from the shape: over many shapes each meets each."""
    seed = stable_seed(sizes, rows)
    rng = np.random.default_rng(seed)
    variant = str(rng.choice(variants))
    activations = [*(str(a) for a in rng.choice(SMOOTH, len(sizes) - 2)), output_of(variant)]
    sizes = wide_enough(sizes, variant, activations)
    bias, weighted = (bool(b) for b in rng.integers(0, 2, 2))
    shape = {"rows": rows, "bias": bias, "weighted": weighted}
    problem = draw_well_posed(seed, sizes, activations, variant, **shape, dtype=dtype)
    check_pass("shapes", problem, dtype, by_fastbp(problem, dtype), by_twin(problem))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 6, 7, 8, 9, 11, 12, 13, 16, 17])
def test_widths_around_vectors_with_rows_around_tiles(rows, dtype):
    for inputs, hidden in itertools.product(widths_around_vectors(dtype), repeat=2):
        check_shape((inputs, hidden, inputs), rows, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 2, 7, 17])
@pytest.mark.parametrize("deep", AROUND_256)
def test_sums_around_depth_blocks(deep, rows, dtype):
    for other in (1, 3, 33, 257):
        check_shape((deep, other, deep), rows, dtype)
        check_shape((other, deep, 2), rows, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("deep", AROUND_256)
def test_every_activation_is_of_the_sum_over_all_depth_blocks(deep, activation, dtype):
    for rows in (1, 9):
        seed = stable_seed("depth", deep, activation, rows)
        sizes, activations = (deep, 21, 2), (activation, "identity")
        problem = draw_well_posed(seed, sizes, activations, "mse", rows=rows, dtype=dtype)
        check_pass("shapes", problem, dtype, by_fastbp(problem, dtype), by_twin(problem))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", LOSSES)
@pytest.mark.parametrize("rows", [*AROUND_256, 511, 512])
def test_rows_around_blocks(rows, variant, dtype):
    for sizes in ((5, 9, 3), (17, 2), (3, vector_lanes(dtype), 2 * vector_lanes(dtype) + 1)):
        check_shape(sizes, rows, dtype, [variant])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 2, 9, 257])
def test_odd_networks(rows, dtype):
    for sizes in ((3,) * 13, (1, 1), (1, 1, 1, 1), (1, 70, 1), (70, 1, 70), (300, 300)):
        check_shape(sizes, rows, dtype)


def test_the_loss_of_a_large_block_does_not_add_up_rounding():
    """Equal elements round in the same direction every time."""
    net = fb.Network([1, 1000], loss="mae", bias=False, dtype="float32", seed=0)
    net.params[:] = 0
    t = np.full((256, 1000), 0.1, "float32")
    assert relative_error(net.loss(np.ones((256, 1)), t), float(t[0, 0])) <= TOLERANCE["float32"]
