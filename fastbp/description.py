"""A base for plain, immutable descriptions: what a loss, a layer or an optimiser is, without any state."""


class Description:
    """Fields are named in ``__slots__`` and set once, in ``__init__``. Equal fields make equal objects."""

    __slots__ = ()

    def _set(self, **fields):
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def _fields(self):
        return {name: getattr(self, name) for name in self.__slots__}

    def __setattr__(self, name, value):
        raise AttributeError(f"{type(self).__name__} is immutable; make a new one with another {name}")

    def __delattr__(self, name):
        self.__setattr__(name, None)

    def __eq__(self, other):
        return type(self) is type(other) and repr(self) == repr(other)

    def __hash__(self):
        return hash(repr(self))

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self._fields().items())})"

    def __getstate__(self):
        return self._fields()

    def __setstate__(self, state):
        self._set(**state)
