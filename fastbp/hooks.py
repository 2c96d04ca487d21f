"""Callbacks at the beginning and the end of a training, whatever happens in between."""

import contextlib
import os

from . import checks
from .callbacks import Callback, EarlyStopping

IN_USE = {}  # the Hooks that hold a callback, by its id


def callables(given, name="callbacks", wanted="a list of callables"):
    """What was given as the callbacks of one network, as a sequence of them."""
    callbacks = (given,) if callable(given) else given
    if not isinstance(callbacks, (list, tuple)) or not all(map(callable, callbacks)):
        raise TypeError(f"{name}: expected {wanted}, got {checks.described(given)}")
    for callback in callbacks:
        if isinstance(callback, type):  # callable too, but what it would make is called by nobody
            raise TypeError(
                f"{name}: expected objects, got the class {callback.__name__}; write {callback.__name__}(...)"
            )
    return callbacks


class Hooks:
    """The callbacks of one training that hear of its beginning and its end.

    Parameters
    ----------
    callbacks : list
        Those that are plain functions are left alone.
    net : Network
    record : History
        What `end` is given; empty where the training never came to its beginning.
    """

    def __init__(self, callbacks, net, record):
        self.callbacks = [callback for callback in callbacks if isinstance(callback, Callback)]
        self.net, self.record, self.process = net, record, os.getpid()
        self.held, self.begun = [], []

    def begin(self, names):
        for callback in self.callbacks:
            if callback.of_one_fit:
                self.hold(callback)
        for callback in self.callbacks:
            callback.begin(self.net, names)
            self.begun.append(callback)

    def hold(self, callback):
        """Takes a callback for this training alone: what two trainings remember in one object is that of neither."""
        holder = IN_USE.setdefault(id(callback), self)  # one atomic step, as two threads may come at once
        if holder.process != self.process:  # a training of the process that this one was forked from, and not here
            IN_USE[id(callback)] = holder = self
        if holder is not self or callback in self.held:
            where = "in this fit twice" if holder is self else "in another fit at the same time"
            wanted = f"for each fit its own {type(callback).__name__}"
            raise RuntimeError(f"callbacks: expected {wanted}, got one that is {where}")
        self.held.append(callback)

    def end(self):
        """`end` of those that have begun, each once, in their order; also of those after one that raises."""
        if self.begun:
            try:
                self.begun.pop(0).end(self.net, self.record)
            finally:
                self.end()

    def close(self):
        """To be called after `end`, and twice: what a Ctrl-C has kept from its end, or from this, comes to it here."""
        try:
            self.end()
        finally:
            for callback in self.callbacks:
                if IN_USE.get(id(callback)) is self:
                    if isinstance(callback, EarlyStopping):
                        callback.put_back(self.net)
                    del IN_USE[id(callback)]


def close_all(hooks):
    """`close` of each, also of those after one that raises; to be called twice, as that is."""
    with contextlib.ExitStack() as closing:
        for each in reversed(hooks):
            closing.callback(each.close)


NOBODY = Hooks((), None, None)  # where there are no callbacks
