"""Files as `fb.load` and `fb.resume` take them, from whatever a test puts into them."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np


def contents(path, *texts):
    """The texts as what their JSON says, then a dict of the arrays, of a file."""
    with np.load(path) as arrays:
        held = {name: arrays[name] for name in arrays.files}
    return *(json.loads(held.pop(text).item()) for text in texts), held


def npy(array, **kwargs):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **kwargs)
    return file.getvalue()


def forge(texts, arrays, path="net", compression=zipfile.ZIP_STORED):
    """A file with texts, for each a value for JSON or bytes, and arrays, or bytes in the place of one."""
    texts = {name: text if isinstance(text, bytes) else json.dumps(text).encode() for name, text in texts.items()}
    members = {**{name: npy(np.array(text)) for name, text in texts.items()}, **arrays}
    with zipfile.ZipFile(Path(path), "w", compression) as archive:
        for name, array in members.items():
            archive.writestr(f"{name}.npy", array if isinstance(array, bytes) else npy(array))
