"""Records as JSON, which has neither NaN nor dtypes.

An array is an object of its dtype, its shape and its elements in row-major order. NaN
and infinities are the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, a complex
number is two elements.
"""

import hashlib
import json
import math
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from everwillow._errors import ArgumentTypeError
from everwillow._store import replacing
from everwillow.io._content import FORMAT, Content


def write(path: pathlib.Path, content: Content) -> None:
    """Write one JSON object that conforms to the standard (RFC 8259)."""
    document: dict[str, Any] = {
        "format": FORMAT,
        **content.document,
        "arrays": {name: _to_json(a, name) for name, a in content.arrays.items()},
    }
    document["digest"] = _digest(document)
    with replacing(path) as file:
        file.write(_text(document).encode())


def _text(document: dict[str, Any]) -> str:
    """Return a line for each entry and for each array."""
    arrays = [f"  {_dump(k)}: {_dump(v)}" for k, v in document["arrays"].items()]
    lines = {k: _dump(v) for k, v in document.items() if k != "arrays"}
    lines["arrays"] = "{\n" + ",\n".join(arrays) + "\n }"
    return "{\n" + ",\n".join(f" {_dump(k)}: {v}" for k, v in lines.items()) + "\n}\n"


def _dump(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def read(content: bytes) -> Content:
    """Read a file of `write`; a file without a digest is not checked."""
    document = json.loads(content, parse_constant=_refuse)
    if document.pop("format", None) != FORMAT:
        raise ValueError(f"its entry 'format' does not say {FORMAT!r}")
    digest = document.pop("digest", None)
    if digest is not None and digest != _digest({"format": FORMAT, **document}):
        raise ValueError(
            "its digest is not that of its contents; if you changed it on purpose, "
            "delete the entry 'digest'"
        )
    arrays = {name: _from_json(value) for name, value in document.pop("arrays").items()}
    return Content(arrays, document, {})


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON; write it as a string")


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _to_json(array: np.ndarray, name: str) -> dict[str, Any]:
    flat, dtype = np.ravel(array), array.dtype
    extended = dtype.kind not in "biufcU"
    if dtype.kind in "fc" and dtype.itemsize > 8 * (1 + (dtype.kind == "c")):
        raise ArgumentTypeError(
            f"save: the array at {name!r} is {dtype}, whose digits JSON would lose; "
            "save it as .npz, or convert it."
        )
    if dtype.kind == "c":
        flat = flat.view(_part(dtype))
    if extended:
        flat = flat.astype(np.float64)
    data = flat.tolist()
    if flat.dtype.kind == "f":
        data = [x if math.isfinite(x) else _NAMES[str(x)] for x in data]
    plain = dtype.isnative and dtype.kind != "U"
    spelled = dtype.name if plain else dtype.str
    return {"dtype": spelled, "shape": array.shape, "data": data}


def _part(dtype: np.dtype) -> np.dtype:
    """Return the dtype of the real part of a complex one."""
    return np.dtype(f"{dtype.byteorder}f{dtype.itemsize // 2}")


_NAMES = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_VALUES = {name: float(value) for value, name in _NAMES.items()}


def _from_json(value: Any) -> np.ndarray:
    # NumPy has types that are not allowed here, such as object.
    dtype, data = jnp.dtype(value["dtype"]), value["data"]
    if dtype.hasobject:
        raise ValueError("an array of Python objects")
    floating = dtype.kind not in "biuU"
    if floating:
        data = [_VALUES[x] if isinstance(x, str) else float(x) for x in data]
    elif any(type(x) is not _KINDS[dtype.kind] for x in data):
        raise ValueError(f"an array of {dtype} with elements of other types")
    if dtype.kind == "c":
        flat = np.array(data, _part(dtype)).view(dtype)
    elif dtype.kind in "biufU":
        flat = np.array(data, dtype)
    else:
        flat = np.array(data, np.float64).astype(dtype)
    return flat.reshape(value["shape"])


_KINDS = {"b": bool, "i": int, "u": int, "U": str}
