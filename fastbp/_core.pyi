"""Every built module `_core_<level>_<dtype>` has these names; config.py picks one. `_core` itself does not exist."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_T = TypeVar("_T")

def level() -> str: ...
def dtype() -> str: ...
def build_flags() -> str: ...
def lanes() -> int: ...
def fail_allocation(n: int) -> None: ...
def live_blocks() -> int | None: ...
def shuffle(order: NDArray[Any], seed: int) -> None: ...
def train_many(
    engines: list[Engine],
    x: NDArray[Any],
    targets: NDArray[Any],
    weights: NDArray[Any] | None,
    orders: NDArray[Any] | None,
    seeds: NDArray[Any] | None,
    rows: int,
    batch_size: int,
    loss_code: int,
    threads: int,
    in_lanes: bool,
    rates: Sequence[NDArray[np.float64]] | None = None,
) -> list[tuple[float, int]]: ...

class Buffer:
    """(size,) of the module's dtype; numpy.asarray makes a live view."""

    def __init__(self, size: int) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class Engine:
    @property
    def parameters(self) -> Buffer: ...
    @property
    def running(self) -> Buffer: ...
    @property
    def mask_key(self) -> int: ...
    @property
    def draws(self) -> int: ...
    @property
    def first(self) -> Buffer | None: ...
    @property
    def second(self) -> Buffer | None: ...
    @property
    def third(self) -> Buffer | None: ...
    @property
    def n_inputs(self) -> int: ...
    @property
    def n_outputs(self) -> int: ...
    @property
    def n_parameters(self) -> int: ...
    @property
    def workspace_bytes(self) -> int: ...
    steps: int
    momentum_product: float
    lr: float
    bounds: tuple[float, float, float]
    def __init__(
        self,
        sizes: Sequence[int],
        activations: Sequence[int],
        biases: Sequence[bool],
        loss: int,
        loss_parameter: float,
        from_logits: bool,
        kinds: Sequence[int] | None = None,
        settings: Sequence[tuple[float, float]] | None = None,
    ) -> None: ...
    def set_masks(self, key: int, draws: int) -> None: ...
    def mask_missing_targets(self) -> None: ...
    def set_threads(self, threads: int) -> None: ...
    def threads_for(self, rows: int) -> int: ...
    def between_steps(self, function: Callable[[], _T]) -> _T: ...
    def predict(self, x: NDArray[Any], out: NDArray[Any], rows: int, training: bool = False) -> None: ...
    def predict_ready(self, x: NDArray[Any], out: NDArray[Any]) -> bool: ...
    def loss(
        self,
        x: NDArray[Any],
        targets: NDArray[Any],
        weights: NDArray[Any] | None,
        rows: int,
        total_weight: float,
        loss_code: int,
        training: bool = False,
    ) -> float: ...
    def loss_and_grad(
        self,
        x: NDArray[Any],
        targets: NDArray[Any],
        weights: NDArray[Any] | None,
        rows: int,
        total_weight: float,
        loss_code: int,
        out: NDArray[Any],
        training: bool = False,
    ) -> float: ...
    def loss_and_grad_ready(
        self, x: NDArray[Any], targets: NDArray[Any], out: NDArray[Any], loss_code: int
    ) -> float | None: ...
    def input_grad(
        self,
        x: NDArray[Any],
        targets: NDArray[Any],
        weights: NDArray[Any] | None,
        rows: int,
        total_weight: float,
        loss_code: int,
        out: NDArray[Any],
        training: bool = False,
    ) -> None: ...
    def jacobian(self, x: NDArray[Any], out: NDArray[Any], rows: int) -> None: ...
    def param_jacobian(self, x: NDArray[Any], out: NDArray[Any], rows: int) -> None: ...
    def per_sample_grads(
        self,
        x: NDArray[Any],
        targets: NDArray[Any],
        weights: NDArray[Any] | None,
        rows: int,
        loss_code: int,
        out: NDArray[Any],
    ) -> None: ...
    def hvp(
        self,
        x: NDArray[Any],
        targets: NDArray[Any] | None,
        deltas: NDArray[Any] | None,
        weights: NDArray[Any] | None,
        rows: int,
        total_weight: float,
        loss_code: int,
        v: NDArray[Any],
        out: NDArray[Any],
    ) -> None: ...
    def trace_row(self, x: NDArray[Any], targets: NDArray[Any], loss_code: int, out: NDArray[Any]) -> float: ...
    def assign(self, parameters: NDArray[Any]) -> None: ...
    def set_optimizer(self, settings: dict[str, float]) -> None: ...
    def train(
        self,
        x: NDArray[Any],
        targets: NDArray[Any],
        weights: NDArray[Any] | None,
        order: NDArray[Any] | None,
        rows: int,
        batch_size: int,
        loss_code: int,
        rates: NDArray[np.float64] | None = None,
        total: float = 0,
        continued: bool = False,
    ) -> tuple[float, int, int]: ...
    def profile(
        self,
        x: NDArray[Any],
        targets: NDArray[Any],
        weights: NDArray[Any] | None,
        order: NDArray[Any] | None,
        rows: int,
        batch_size: int,
        loss_code: int,
    ) -> tuple[tuple[float, int, int], dict[str, int]]: ...
