"""Records as HDF5: a dataset for each array, at the path of its field or key.

The attribute ``type`` of a group is the name of its record; the dataset ``metadata`` of
the file is the description, as JSON.
"""

import io
import json
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from everwillow._hdf5 import import_h5py, writing
from everwillow._store import digest
from everwillow.io._content import FORMAT, ROOT, Content


_METADATA = "metadata"
_HINT = "Files that end with .npz or .json need nothing."


def write(path: pathlib.Path, content: Content) -> None:
    """Write a file that any reader of HDF5 opens."""
    text = json.dumps(content.document)
    with writing(path, hint=_HINT) as file:
        string = import_h5py().string_dtype()
        file.attrs["format"] = FORMAT
        file.attrs["version"] = content.document["version"]
        file.attrs["digest"] = digest(content.arrays, content.document)
        file.create_dataset(_METADATA, data=text, dtype=string)
        for name, array in content.arrays.items():
            _write_array(file, name, array, string)
        for name, kind in content.types.items():
            group = file if name == ROOT else file.require_group(name)
            group.attrs["type"] = kind


def _write_array(file: Any, name: str, array: np.ndarray, text: Any) -> None:
    if array.dtype.kind == "U":
        dataset = file.create_dataset(name, data=array.astype(object), dtype=text)
        dataset.attrs["dtype"] = array.dtype.str
    elif array.dtype.kind in "biufc":
        # In the byte order of the machine: h5py reads some others as another type.
        native = array.astype(array.dtype.newbyteorder("="))
        dataset = file.create_dataset(name, data=native)
        if native.dtype != array.dtype:
            dataset.attrs["dtype"] = array.dtype.str
    else:
        # HDF5 has no bfloat16: its bits and the name of its type are written.
        bits = array.view(f"u{array.dtype.itemsize}")
        file.create_dataset(name, data=bits).attrs["dtype"] = array.dtype.name


def read(content: bytes) -> Content:
    """Read what `write` has written."""
    h5py = import_h5py(_HINT)
    arrays: dict[str, np.ndarray] = {}
    with h5py.File(io.BytesIO(content), "r") as file:
        if file.attrs.get("format") != FORMAT:
            raise ValueError(f"its attribute 'format' does not say {FORMAT!r}")
        document = json.loads(file[_METADATA].asstr()[()])

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and name != _METADATA:
                arrays[name] = _read_array(item)

        file.visititems(visit)
        stored = file.attrs.get("digest")
    if stored is not None and stored != digest(arrays, document):
        raise ValueError(
            "its digest is not that of its contents; if you changed it on purpose, "
            "delete the attribute 'digest'"
        )
    return Content(arrays, document, {})


def _read_array(dataset: Any) -> np.ndarray:
    spelled = dataset.attrs.get("dtype")
    if spelled is None:
        return np.asarray(dataset[()])
    dtype = jnp.dtype(spelled)
    if dtype.kind == "U":
        return np.asarray(dataset.asstr()[()], dtype)
    array = np.asarray(dataset[()])
    return array.astype(dtype) if dtype.kind in "biufc" else array.view(dtype)
