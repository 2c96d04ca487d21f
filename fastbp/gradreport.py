"""The report of a gradient check: parts with numbers side by side, and the table that is printed of them."""

from dataclasses import dataclass

import numpy as np

LISTED = 10  # entries at fault, and kinks, that a printed report names


@dataclass(frozen=True, eq=False)
class Part:
    """The gradient by one weight matrix, one bias, the inputs, all parameters, or by the outputs in a loss object.

    Its numbers are the entries of the gradient (``mode="full"``), or its products with some directions (``"fast"``).

    Attributes
    ----------
    layer : int or None
    kind : {"weight", "bias", "input", "model", "loss"}
    analytic, numeric : ndarray of float64
        Of the parameter's shape, or (directions,): what the network says; the finite difference.
    kink : ndarray of bool
        Where the point is at a kink, and there is no derivative to compare with.
    rtol : float
    atol : ndarray
        A number may differ by the larger of `atol` and `rtol` times the larger of the two values.
    fast : bool
        Whether the numbers belong to directions.
    """

    layer: int | None
    kind: str
    analytic: np.ndarray
    numeric: np.ndarray
    kink: np.ndarray
    rtol: float
    atol: np.ndarray
    fast: bool = False

    @property
    def name(self):
        whole = {"input": "input", "model": "whole model", "loss": "loss object"}
        return whole[self.kind] if self.kind in whole else f"layers[{self.layer}].{self.kind}"

    @property
    def error(self):
        """|analytic - numeric| / max(|analytic|, |numeric|, atol / rtol), infinite where one of them is not finite."""
        with np.errstate(invalid="ignore"):
            larger = np.maximum(np.abs(self.analytic), np.abs(self.numeric))
            error = np.abs(self.analytic - self.numeric) / np.maximum(larger, self.atol / self.rtol)
        return np.where(np.isfinite(error), error, np.inf)

    @property
    def n_checked(self):
        """Numbers compared: all but those at kinks."""
        return int(self.kink.size - self.kink.sum())

    @property
    def worst(self):
        """Index of the number with the largest error; None if all are at kinks."""
        error = np.where(self.kink, -1.0, self.error)
        return tuple(int(i) for i in np.unravel_index(error.argmax(), error.shape)) if self.n_checked else None

    @property
    def max_error(self):
        """Error of the worst."""
        return float(self.error[self.worst]) if self.n_checked else 0.0

    @property
    def kinks(self):
        """Indices of those at kinks."""
        return [tuple(int(i) for i in index) for index in np.argwhere(self.kink)]

    @property
    def failures(self):
        """Indices of those that differ, the worst first."""
        error = np.where(self.kink, 0.0, self.error)
        wrong = np.argwhere(error > self.rtol)
        order = np.argsort(-error[tuple(wrong.T)], kind="stable")
        return [tuple(int(i) for i in index) for index in wrong[order]]

    @property
    def ok(self):
        return self.max_error <= self.rtol

    def entry(self, index):
        """The name of a number, such as ``layers[1].weight[3, 17]`` or ``layers[1].weight along 2``."""
        return f"{self.name} along {index[0]}" if self.fast else f"{self.name}[{', '.join(map(str, index))}]"

    def __repr__(self):
        return f"<{self.name}: {'ok' if self.ok else 'WRONG'}, max error {self.max_error:.1e}, {len(self.kinks)} kinks>"


@dataclass(frozen=True, eq=False)
class GradCheck:
    """Report of a gradient check. True where it is `ok`; prints as a table.

    Attributes
    ----------
    layers : tuple of Part
        Weight and bias of each layer, then the inputs. Each has ``name``, ``layer``, ``kind``, ``ok``, ``max_error``,
        ``worst`` (an index), ``n_checked``, ``kinks`` and ``failures`` (lists of indices), and the arrays ``analytic``,
        ``numeric``, ``error``, ``kink``.
    loss, loss_float64 : float
        Of the network, and computed in float64.
    loss_ok : bool
        Whether they agree.
    network : str
        What was checked.
    eps : float
        Step, before it was scaled to each parameter.
    mode : {"full", "fast"}
    model : Part or None
        All parameters together, along directions, in fast mode.
    objective : Part or None
        The delta of a loss object of the user's own beside differences of its value by the outputs. Where this is
        wrong, the parts are too, and the loss is at fault.
    training : bool
        Whether the function is that of a step of `fit`.
    """

    layers: tuple
    loss: float
    loss_float64: float
    loss_ok: bool
    network: str
    eps: float
    mode: str = "full"
    model: Part | None = None
    objective: Part | None = None
    training: bool = False

    @property
    def parts(self):
        """All that was compared: `layers`, then `model` and `objective` where they are."""
        return (*self.layers, *(part for part in (self.model, self.objective) if part is not None))

    @property
    def ok(self):
        """Whether the loss and all numbers that are not at a kink agree."""
        return self.loss_ok and all(part.ok for part in self.parts)

    @property
    def max_error(self):
        """The largest of the parts' errors."""
        return max(part.max_error for part in self.parts)

    @property
    def n_kinks(self):
        return sum(len(part.kinks) for part in self.parts)

    def __bool__(self):
        return self.ok

    def __str__(self):
        fast = f", along {self.layers[0].analytic.size} directions a part" if self.mode == "fast" else ""
        lines = [f"gradient check of {self.network}{fast}: {'ok' if self.ok else 'WRONG'}", HEAD]
        for part in self.parts:
            verdict = "ok" if part.ok else f"{len(part.failures)} wrong"
            line = f"{part.name:18} {part.n_checked:8} {len(part.kinks):6} {verdict:>10}  "
            if part.worst is not None:
                line += f"{part.max_error:9.1e}  {line_of(part, part.worst)}"
            lines.append(line.rstrip())
        verdict = "ok" if self.loss_ok else "WRONG"
        lines.append(f"loss {self.loss:.9g}, in float64 {self.loss_float64:.9g}: {verdict}")
        if self.objective is not None and not self.objective.ok:
            lines.append(
                "the loss object's delta is not the derivative of its value; the parts cannot agree before it is"
            )
        wrong = [line_of(part, index) for part in self.parts for index in part.failures]
        kinks = [line_of(part, index) for part in self.parts for index in part.kinks]
        return "\n".join([*lines, *listing("wrong", wrong), *listing("at a kink, not judged", kinks)])


HEAD = (
    f"{'part':18} {'compared':>8} {'kinks':>6} {'verdict':>10}  {'max error':>9}  {'worst entry':28} "
    f"{'analytic':>16} {'numeric':>16}"
)


def line_of(part, index):
    return f"{part.entry(index):28} {part.analytic[index]:16.9g} {part.numeric[index]:16.9g}"


def listing(title, lines):
    """The first few lines under a title, and how many more there are; nothing if there are none."""
    if not lines:
        return []
    more = [f"  ... and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    return [f"{title}:", *(f"  {line}" for line in lines[:LISTED]), *more]
