"""Every built module `_core_<level>_<dtype>` has these names; config.py picks one. `_core` itself does not exist."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

def level() -> str: ...
def dtype() -> str: ...
def build_flags() -> str: ...
def lanes() -> int: ...
def fail_allocation(n: int) -> None: ...
def live_blocks() -> int | None: ...
def train_many(
    engines: list[Engine],
    x: NDArray[Any],
    targets: NDArray[Any],
    weights: NDArray[Any] | None,
    orders: NDArray[Any] | None,
    rows: int,
    batch_size: int,
    loss_code: int,
    threads: int,
    in_lanes: bool,
) -> list[tuple[float, int]]: ...

class Buffer:
    """(size,) of the module's dtype; numpy.asarray makes a live view."""

    def __init__(self, size: int) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class Engine:
    @property
    def parameters(self) -> Buffer: ...
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
    def __init__(
        self,
        sizes: Sequence[int],
        activations: Sequence[int],
        biases: Sequence[bool],
        loss: int,
        loss_parameter: float,
        from_logits: bool,
    ) -> None: ...
    def set_threads(self, threads: int) -> None: ...
    def threads_for(self, rows: int) -> int: ...
    def predict(self, x: NDArray[Any], out: NDArray[Any], rows: int) -> None: ...
    def predict_ready(self, x: NDArray[Any], out: NDArray[Any]) -> bool: ...
    def loss(
        self,
        x: NDArray[Any],
        targets: NDArray[Any],
        weights: NDArray[Any] | None,
        rows: int,
        total_weight: float,
        loss_code: int,
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
    ) -> None: ...
    def trace_row(self, x: NDArray[Any], targets: NDArray[Any], loss_code: int, out: NDArray[Any]) -> float: ...
    def set_optimizer(self, settings: dict[str, float], fresh: bool) -> None: ...
    def train(
        self,
        x: NDArray[Any],
        targets: NDArray[Any],
        weights: NDArray[Any] | None,
        order: NDArray[Any] | None,
        rows: int,
        batch_size: int,
        loss_code: int,
    ) -> tuple[float, int]: ...
    def profile(
        self,
        x: NDArray[Any],
        targets: NDArray[Any],
        weights: NDArray[Any] | None,
        order: NDArray[Any] | None,
        rows: int,
        batch_size: int,
        loss_code: int,
    ) -> tuple[tuple[float, int], dict[str, int]]: ...
