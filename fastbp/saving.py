"""A network in one file: NumPy's .npz with a description as JSON and arrays of numbers, nothing pickled.

What is read may come from a stranger: each size is compared with what the description asks for before memory is taken.
"""

import contextlib
import errno
import io
import os
import stat
from typing import TYPE_CHECKING, Any

import numpy as np

from . import chain as chain_
from . import checks, data, description, losses, state
from .description import expect

if TYPE_CHECKING:
    from .network import Network

MOST_DESCRIPTION = 1 << 20  # bytes: some 10,000 layers
HEADER = 128  # bytes of NumPy's header before the numbers, for every shape that occurs here
ARRAYS = ("params", "running", *state.VECTORS)
ALWAYS = ("first", "second")  # with an optimiser; the others where they have numbers
PIECE = 1 << 20  # bytes read at a time: of an array, and of the archive's directory the most


def save(net, path, optimizer):
    """See Network.save."""
    path = path_of(path)
    members = members_of(net, checks.boolean("optimizer", optimizer))
    write(path, lambda file: savez(file, members))


def members_of(net, optimizer=True):
    """The description and the arrays of a network, by name; copies."""
    kept = state.of(net)
    if not optimizer:
        kept["optimizer"] = kept["optimizer_state"] = None
    arrays = {"params": kept["params"]} | ({"running": kept["running"]} if len(kept["running"]) else {})
    if kept["optimizer"] is not None:
        vectors = {name: kept["optimizer_state"][name] for name in state.VECTORS}
        arrays |= {name: vector for name, vector in vectors.items() if name in ALWAYS or vector.size}
    for name, array in arrays.items():
        check_numbers(name, array)
    text = description.of(kept)
    if len(text) > MOST_DESCRIPTION:
        raise ValueError(f"layers: expected a description of at most {MOST_DESCRIPTION} bytes, got {len(text)}")
    return {"description": np.array(text), **arrays}


def path_of(path):
    """path as a str."""
    try:
        text = os.fspath(path)
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise TypeError(f"path: expected a str or os.PathLike, got {checks.described(path)}")
    return text


def place_of(path):
    """The real path, a link followed, if a file can be made there; the error names `path`."""
    real = os.path.realpath(path)
    folder = os.path.dirname(real)
    problem = None
    if os.path.isdir(real):
        problem = errno.EISDIR
    elif not os.path.isdir(folder):
        problem = errno.ENOTDIR if os.path.exists(folder) else errno.ENOENT
    elif not os.access(folder, os.W_OK):
        problem = errno.EACCES
    if problem:
        raise OSError(problem, os.strerror(problem), path)
    return real


def write(path, fill):
    """Makes the file whole or not at all: a new one beside it, on disk before it takes the name."""
    path = place_of(path)
    folder = os.path.dirname(path)
    unfinished = os.path.join(folder, f".fastbp-{os.urandom(8).hex()}.tmp")
    with open(unfinished, "xb") as file:
        try:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
            os.replace(unfinished, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):  # a Ctrl-C may come when it has its name already
                os.unlink(unfinished)
            raise
    if os.name == "posix":  # the new name, too, is to be on disk
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def savez(file, members):
    """numpy.savez; a Ctrl-C comes out of it as what it is, though zipfile cannot close what that has cut short."""
    try:
        np.savez(file, **members)
    except ValueError as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise


def load(path: str | os.PathLike[str], *, loss: Any = None, lr: Any = None) -> "Network":
    """The network in a file that `Network.save` wrote.

    Parameters
    ----------
    path : str or os.PathLike
    loss : object, optional
        The loss object of one's own that the network had; the file holds no more than the name of its class. None where
        the loss is one of fastbp's.
    lr : callable, optional
        The function (or the `Schedule` of a class of one's own) that stood for the optimiser's learning rate; the file
        holds its name. None leaves the rate of the last step, a number.

    Returns
    -------
    Network
        It computes and continues to train as the saved one would, bit for bit on the same level of the core; with the
        optimiser if that was saved.

    Raises
    ------
    ValueError
        Naming the path and what is wrong, for a file that is cut short, altered, of a later version of the format, or
        no network at all, and for a `loss` that is not what the file asks for.
    OSError
        Where the file cannot be opened or read.

    Notes
    -----
    Safe with files of strangers: nothing in them is executed or unpickled, and reading takes at most three times the
    file's size and 64 MB of memory, whatever the file says about itself.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> net = fb.Network([2, 3, 1], loss="mse", seed=0)
    >>> net.save("net.npz")
    >>> bool(np.all(fb.load("net.npz").params == net.params))
    True
    >>> _ = open("net.npz", "r+b").truncate(200)
    >>> fb.load("net.npz")
    Traceback (most recent call last):
    ValueError: net.npz: no network can be loaded from this file: File is not a zip file
    """
    return opened(path, loss, lr, lambda archive, sizes, network, described: network, "no network can be loaded")


def opened(path, loss, lr, read_more, refusal):
    """read_more(archive, sizes of its members, the network in it, its description) of a file."""
    path = path_of(path)
    if loss is not None:
        loss = losses.resolve(loss)
    return guarded(path, refusal, lambda file: read(file, loss, lr, read_more))


def guarded(path, refusal, take):
    """take(open file); a ValueError that begins with the path and the `refusal` where it is damaged."""
    import struct
    import zipfile

    path = path_of(path)
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{path}: {refusal} from what is not a regular file")
    # what zipfile, json and the checks of single values say to damaged or hostile files
    damage = (ValueError, TypeError, RuntimeError, EOFError, OverflowError, struct.error, zipfile.BadZipFile)
    with CautiousFile(path) as file:
        try:
            return take(file)
        except damage as error:
            problem = error
        except OSError as error:
            if error.errno != errno.EINVAL:  # a place outside the file, not a disk that fails
                raise
            problem = error
    raise ValueError(f"{path}: {refusal} from this file: {problem}") from problem


class Cautious:
    """A file that is read in small pieces only: zipfile takes a directory of whatever size that claims to be."""

    def read(self, size=-1, /):
        piece = super().read(min(size, PIECE + 1) if size >= 0 else PIECE + 1)
        expect(len(piece) <= PIECE, f"a directory of more than {PIECE} bytes")
        return piece


class CautiousFile(Cautious, io.FileIO):
    pass


class CautiousBytes(Cautious, io.BytesIO):
    pass


def size_of(file):
    return file.seek(0, io.SEEK_END)


def read(file, loss, lr, read_more):
    """What `opened` is to return, from an open file."""
    import zipfile

    with zipfile.ZipFile(file) as archive:
        sizes = member_sizes(archive, size_of(file), is_of_network, "a network; fastbp.Ensemble.load takes ensembles")
        described = description.parsed(text_of(archive, "description", sizes))
        n_inputs, chain, dtype = description.shape_of(described)
        # before memory is taken
        check_size("params", sizes.get("params", 0), chain_.n_parameters(n_inputs, chain), dtype)
        check_size("running", sizes.get("running", HEADER), chain_.n_running(n_inputs, chain), dtype)
        net = description.bare_network(described, n_inputs, chain, dtype, loss, lr)
        arrays = {"params": np.asarray(net._engine.parameters)}
        if chain_.n_running(n_inputs, chain):
            arrays["running"] = np.asarray(net._engine.running)
        if net.optimizer is not None:
            vectors = {name: np.asarray(getattr(net._engine, name)) for name in state.VECTORS}
            arrays |= {name: vector for name, vector in vectors.items() if name in ALWAYS or vector.size}
        present = {name for name in sizes if not is_of_run(name)}
        expect(arrays.keys() | {"description"} == present, f"arrays: {', '.join(arrays)}, got {sorted(present)}")
        for name, array in arrays.items():
            check_size(name, sizes[name], array.size, array.dtype)
        for name, array in arrays.items():
            read_array(archive, name, array)
            check_numbers(name, array)
        for k, variances in enumerate(net.running_vars):
            fine = variances is None or variances.min() >= 0
            expect(fine, f"running: expected variances, got less than 0 in layer {k}")
        return read_more(archive, sizes, net, described)


def is_of_network(name):
    return name in ("description", *ARRAYS) or is_of_run(name)


def text_of(archive, name, sizes):
    """The bytes of a JSON text."""
    length = sizes.get(name, 0) - HEADER
    expect(0 < length <= MOST_DESCRIPTION, f"{name}: expected up to {MOST_DESCRIPTION} bytes, got {length}")
    text = np.empty((), f"S{length}")
    read_array(archive, name, text)
    return text.tobytes()


def member_sizes(archive, file_size, belongs, wanted):
    """Bytes of each array by name, for an archive that is not larger inside than outside."""
    sizes = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        known = belongs(name) and name not in sizes and member.filename == f"{name}.npy"
        expect(known, f"expected {wanted}; got an array {checks.SHORT.repr(member.filename)}, unknown or there twice")
        plain = member.compress_type == 0 and member.compress_size == member.file_size
        expect(plain, f"{name}: expected an array that is not compressed")
        sizes[name] = member.file_size
    expect(sum(sizes.values()) <= file_size, f"arrays of {sum(sizes.values())} bytes in a file of {file_size}")
    return sizes


def is_of_run(name):
    """Whether an array is one of those that runfile.py adds: "run", "run0", "run1", ..."""
    return name.startswith("run") and len(name) < 10 and name.isascii() and (name == "run" or name[3:].isdecimal())


def check_size(name, size, length, dtype):
    wanted = HEADER + length * dtype.itemsize
    expect(size == wanted, f"{name}: expected {length} numbers of {dtype.name} in {wanted} bytes, got {size} bytes")


def read_array(archive, name, out):
    """Fills a contiguous array of native byte order from the archive, whose header must say just that."""
    text = f"{{'descr': {out.dtype.str!r}, 'fortran_order': False, 'shape': {out.shape!r}, }}"
    wanted = b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + text.ljust(HEADER - 11).encode() + b"\n"
    with archive.open(f"{name}.npy") as member:
        header = member.read(HEADER)
        expect(header == wanted, f"{name}: expected an array {text}, got {checks.SHORT.repr(header[10:].rstrip())}")
        room = memoryview(out.reshape(-1).view(np.uint8))
        while len(room):
            piece = member.read(min(len(room), PIECE))
            expect(piece, f"{name}: expected {len(room)} more bytes")
            room[: len(piece)] = piece
            room = room[len(piece) :]
        expect(not member.read(1), f"{name}: more bytes than numbers")  # reading on to the end compares the checksum


def check_numbers(name, array):
    """Refuses what no training leaves behind."""
    if not data.all_finite(array):
        at = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(f"{name}: expected finite numbers, got {array[at]} at index {at}")
    if name == "second" and array.size and array.min() < 0:
        raise ValueError(f"{name}: expected means of squares, got {array.min()} at index {int(array.argmin())}")
