"""Memory maps larger than memory: windows of rows are read, converted and checked in turn, each into the same memory.

A shuffled epoch takes blocks of consecutive rows in random order, sixteen to a window, and the rows of a window in
random order: rows that lie far apart on disk meet in a batch, and the disk still reads a megabyte or two at a time. An
epoch in order reads one window of the size of such a block after the other: what has been checked is still in cache
when the steps come to it. All sizes follow from shapes alone, and so does the order.
"""

import numpy as np

from . import data
from .epochs import rest
from .shuffle import permutation

WINDOW_BYTES = 32 << 20  # of converted inputs and targets, shuffled; or a batch where that is more
BLOCKS_A_WINDOW = 16


class Windows:
    """Arrays of which some are memory maps, as the source of batches; see `epochs.Arrays`.

    Only the last batch of an epoch is shorter than the others. Data of one window is shuffled as an array is, with the
    same bits.

    Parameters
    ----------
    X : ndarray, shape (n, in)
        Converted, or a memory map of any real dtype.
    targets : ndarray, shape (n,) or (n, out)
        As `data.targets` gives them, or a memory map.
    weights : ndarray or data.ScaledWeights, shape (n,), optional
    """

    def __init__(self, net, X, targets, weights, batch_size, shuffle):
        self.rows = X.shape[0]
        self.batch_size = min(batch_size, self.rows)
        self.batches = -(-self.rows // self.batch_size)
        self.shuffle = shuffle
        row_bytes = net.dtype.itemsize * (net.n_inputs + net.n_outputs)
        blocks = BLOCKS_A_WINDOW if shuffle else 1
        batches = WINDOW_BYTES * blocks // BLOCKS_A_WINDOW // (row_bytes * self.batch_size)
        self.window = min(self.batch_size * max(1, batches), self.rows)
        self.block = -(-self.window // blocks)
        self.columns = [
            Column(X, net.dtype, lambda rows: data.inputs(rows, net.n_inputs, net.dtype)),
            Column(targets, net.dtype, lambda y: converted_targets(net, y)),
            None if weights is None else Column(weights, net.dtype, None),
        ]

    def pieces(self, rng, position):
        """As `epochs.Arrays.pieces`: one for each window."""
        begin = 0
        for spans in self.spans(rng):
            n = sum(stop - start for start, stop in spans)
            order = permutation(rng, n) if self.shuffle else None
            if begin + n > position.rows:
                done = max(0, position.rows - begin)
                yield *rest(self.read(spans, n), order, done), self.batch_size
            begin += n

    def spans(self, rng):
        """For each window of an epoch: where its rows stand, as a list of (first row, row after the last)."""
        n, window, block = self.rows, self.window, self.block
        if not self.shuffle or n == window:
            return [[(first, min(n, first + window))] for first in range(0, n, window)]
        windows, room = [[]], window
        for k in permutation(rng, -(-n // block)).tolist():
            start, stop = k * block, min(n, (k + 1) * block)
            while start < stop:
                if not room:
                    windows.append([])
                    room = window
                end = min(stop, start + room)
                windows[-1].append((start, end))
                room -= end - start
                start = end
        return [sorted(spans) for spans in windows]

    def read(self, spans, n):
        """The rows of a window, each array in its buffer."""
        return [column and column.read(spans, n, self.window, self.block) for column in self.columns]


def converted_targets(net, y):
    return data.targets(y, len(y), net.n_outputs, net.objective, net.dtype, missing=net.missing_targets)


class Column:
    """One array of the data; `convert` checks rows of a memory map and turns them into what the core takes."""

    def __init__(self, array, dtype, convert):
        self.array, self.buffer = array, None
        self.convert = convert if data.is_streaming(array) else None
        # consecutive rows are then used as they lie: a copy took a fifth of an epoch of 128-32-10 in order
        self.ready = self.convert is None or (array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned)

    def read(self, spans, n, window, block):
        if len(spans) == 1 and self.ready:
            return self.converted(*spans[0])
        at = 0
        for start, stop in spans:
            for first in range(start, stop, block):  # a part is looked at and copied while it is in cache
                part = self.converted(first, min(stop, first + block))
                if self.buffer is None:
                    self.buffer = np.empty((window, *part.shape[1:]), part.dtype)
                self.buffer[at : at + len(part)] = part
                at += len(part)
        return self.buffer[:n]

    def converted(self, first, last):
        rows = self.array[first:last]
        if self.convert is None:
            return rows
        try:
            return self.convert(rows)
        except data.RowError as error:
            raise error.in_rows(range(first, last)) from None
