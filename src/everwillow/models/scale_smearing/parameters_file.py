"""Responses and resolutions in JSON files."""

import json
import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    SpecificationError,
    first_names,
    nearest,
)
from everwillow._store import replacing
from everwillow.models.json_source import Source, load_json, source_name
from everwillow.models.scale_smearing.categories import Categories
from everwillow.models.scale_smearing.parameters import (
    AT_BOUND,
    FAILED,
    FITTED,
    NO_REGION,
    UNDETERMINED,
    SasParameters,
)


INFINITE_EDGE = 9999.0
"""What stands for an infinite edge in files."""

_REQUIRED = ("resp", "reso", "eresp", "ereso")
_OPTIONAL = ("eresp_mc", "ereso_mc", "reso_upper")
_BIAS = ("resp_bias", "reso_bias")
_SECOND = ("reso2", "mu", "frac")
_DOUBLE = (
    *_SECOND,
    *(f"e{name}" for name in _SECOND),
    *(f"e{name}_mc" for name in _SECOND),
    "mean2G",
    "std2G",
)
_OWN = ("pt_mean", "status", "covariance", "covariances")
_FIT = ("nll", "edm", "success", "message")
_KEYS = ("categories", *_REQUIRED, *_OPTIONAL, *_BIAS, *_DOUBLE, *_OWN, *_FIT)
_STATUSES = (FITTED, AT_BOUND, NO_REGION, UNDETERMINED, FAILED)
# Where another program starts, and what it writes for categories that it does not fit.
_START = (1.0, 0.02)


def parameters_to_json(parameters: SasParameters, path: str | os.PathLike[str]) -> None:
    """Write responses and resolutions to a JSON file.

    The keys are the names of the attributes. Lists have one number for each category in
    C order. NaN is ``null``, and an infinite edge ±9999, or ``"inf"`` where an edge
    beyond that is finite. The parameters of a double Gaussian and the entries of
    `origin` are keys of their own. An existing file is replaced when the new one is
    complete.

    Args:
        parameters: What is written, in double precision.
        path: The file. Its folder has to exist.

    Raises:
        ArgumentValueError: If an entry of `origin` or `double` has the name of another.
        ArgumentTypeError: If JSON cannot hold an entry of `origin`.
        MissingFileError: If there is no such folder.

    Example:
        >>> import tempfile
        >>> nan = np.full(2, np.nan)
        >>> parameters = SasParameters(
        ...     Categories.of({"ScEta": [0, 1.5, np.inf]}),
        ...     *(np.array([0.99, np.nan]), np.array([0.01, np.nan])),
        ...     *(nan, nan, nan, nan, ("fitted", "no region"), nan),
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder) / "result.json"
        ...     parameters_to_json(parameters, file)
        ...     print(file.read_text()[2:69])
        ...     parameters_from_json(file).status
        "categories": {"ScEta": [0.0, 1.5, 9999.0]},
        "resp": [0.99, null],
        ('fitted', 'no region')
    """
    document = _document(parameters)
    lines = [f"{json.dumps(key)}: {_text(value)}" for key, value in document.items()]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    with replacing(pathlib.Path(path)) as file:
        file.write(text.encode())


def parameters_from_json(path: Source) -> SasParameters:
    """Read responses and resolutions from a JSON file.

    Files of other programs may lack all but the categories, `resp`, `reso`, `eresp` and
    `ereso`; what they lack is NaN or None. If a file has no statuses, its errors of
    exactly 0 (and 1 for those of a second Gaussian) are none, and become NaN; and a
    category without errors that is at the usual start values, a response of 1 and a
    resolution of 0.02, has not been fitted: its numbers become NaN, and its status is
    ``"not determined"``.

    Args:
        path: The file, or its content as text or a dict.

    Raises:
        MissingFileError: If there is no such file.
        SpecificationError: If it is another document, or if a list does not have one
            number for each category.
    """
    document = load_json(path)
    return _Reader(document, source_name(path) or "the document").read()


def file_edges(edges: Sequence[float]) -> list[float | str]:
    """Return edges as they are in files.

    Example:
        >>> file_edges([-np.inf, 0.94, np.inf]), file_edges([3.6e5, np.inf])
        ([-9999.0, 0.94, 9999.0], [360000.0, 'inf'])
    """
    finite = [edge for edge in edges if math.isfinite(edge)]
    low = min(finite, default=0.0) > -INFINITE_EDGE
    high = max(finite, default=0.0) < INFINITE_EDGE
    names = {
        -math.inf: -INFINITE_EDGE if low else "-inf",
        math.inf: INFINITE_EDGE if high else "inf",
    }
    return [names.get(edge, edge) for edge in map(float, edges)]


def _document(parameters: SasParameters) -> dict[str, Any]:
    """Return the content of the file."""
    categories = parameters.categories
    document: dict[str, Any] = {
        "categories": {
            name: file_edges(edges)
            for name, edges in zip(categories.names, categories.edges, strict=True)
        }
    }
    for name in (*_REQUIRED, *_OPTIONAL[:2]):
        document[name] = _plain(parameters.values(name), name)
    document["pt_mean"] = _plain(parameters.pt_mean, "pt_mean")
    for name, values in parameters.double.items():
        if name not in _DOUBLE:
            raise ArgumentValueError(
                f"parameters: the double Gaussian has no parameter {name!r}."
                f"{nearest(name, _DOUBLE)}"
            )
        document[name] = _plain(values, name)
    for name in ("status", "reso_upper", *_BIAS, "covariance", "covariances", *_FIT):
        document[name] = _plain(getattr(parameters, name), name)
    for name, value in parameters.origin.items():
        if name in _KEYS:
            raise ArgumentValueError(
                f"parameters: an entry of `origin` has the name {name!r}, which the "
                "file uses for something else. Give it another name."
            )
        document[name] = _plain(value, name)
    return document


def _plain(value: Any, where: str) -> Any:
    """Return a value as JSON holds it: NaN is None, infinities are text."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {
            str(key): _plain(one, f"{where}[{key!r}]") for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(one, where) for one in value]
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if hasattr(value, "__array__"):
        return _plain(np.asarray(value), where)
    raise ArgumentTypeError(
        f"parameters: {where} is a {type(value).__name__}, which JSON cannot hold. Use "
        "numbers, texts, lists and dictionaries."
    )


def _text(value: Any) -> str:
    """Return JSON, with one line for each row of a matrix."""
    if isinstance(value, list) and value and all(isinstance(x, list) for x in value):
        return "[\n" + ",\n".join(map(_text, value)) + "\n]"
    if isinstance(value, dict) and any(isinstance(x, list) for x in value.values()):
        inside = (f"{json.dumps(key)}: {_text(one)}" for key, one in value.items())
        return "{" + ", ".join(inside) + "}"
    return json.dumps(value, allow_nan=False)


class _Reader:
    """Reads a document; `name` is that of its file, for messages."""

    def __init__(self, document: Any, name: str) -> None:
        self._name = name
        if not isinstance(document, Mapping):
            raise self._error("it is not an object with responses and resolutions")
        self._document: Mapping[str, Any] = document

    def read(self) -> SasParameters:
        """Return the parameters."""
        self._check_keys()
        self._categories = self._read_categories()
        arrays = {name: self._array(name) for name in _REQUIRED}
        arrays |= {name: self._array(name, needed=False) for name in _OPTIONAL}
        double = {
            name: self._array(name)
            for name in _DOUBLE
            if self._document.get(name) is not None
        }
        if "status" in self._document:
            status = self._read_status()
        else:
            status = _without_defaults(arrays, double)
        matrices = self._document.get("covariances") or {}
        return SasParameters(
            self._categories,
            status=status,
            **arrays,
            **{
                name: self._array(name)
                for name in _BIAS
                if self._document.get(name) is not None
            },
            double=double,
            pt_mean=self._read_pt_mean(),
            covariance=self._matrix(self._document.get("covariance"), "covariance"),
            covariances={
                name: self._matrix(matrix, f"covariances[{name!r}]")
                for name, matrix in matrices.items()
            },
            nll=self._number("nll"),
            edm=self._number("edm"),
            success=self._document.get("success"),
            message=self._document.get("message") or "",
            origin={
                name: value
                for name, value in self._document.items()
                if name not in _KEYS
            },
        )

    def _check_keys(self) -> None:
        missing = [
            name for name in ("categories", *_REQUIRED) if name not in self._document
        ]
        if missing:
            others = [name for name in self._document if name not in _KEYS]
            hint = nearest(missing[0], others)
            found = first_names([repr(name) for name in self._document]) or "none"
            raise self._error(
                f"the keys {', '.join(map(repr, missing))} are missing"
                if len(missing) > 1
                else f"the key {missing[0]!r} is missing",
                hint or f" Its keys: {found}.",
            )

    def _read_categories(self) -> Categories:
        edges = self._document["categories"]
        if not isinstance(edges, Mapping):
            raise self._error("'categories' must be an object: variables to edges")
        try:
            return Categories.of(
                {name: list(_edges(one)) for name, one in edges.items()}
            )
        except (TypeError, ValueError) as error:
            raise self._error(
                f"'categories' are not lists of increasing numbers ({error})"
            ) from error

    def _array(self, name: str, *, needed: bool = True) -> np.ndarray:
        """Return an array with one number for each category."""
        size = self._categories.size
        values = self._document.get(name)
        if values is None and not needed:
            return np.full(size, np.nan)
        array = self._numbers(values, name)
        if name in _DOUBLE and array.shape == (1,):
            # One number that all categories share.
            array = np.repeat(array, size)
        if array.shape != (size,):
            shape = " x ".join(map(str, self._categories.shape))
            raise self._error(
                f"{name!r} has {len(array)} numbers, and there are {size} categories "
                f"({shape} bins of {', '.join(self._categories.names)})"
            )
        return array

    def _numbers(self, values: Any, name: str, dimensions: int = 1) -> np.ndarray:
        if isinstance(values, list):
            try:
                array = np.array(values, float)
            except (TypeError, ValueError):
                array = np.empty(())
            if array.ndim == dimensions:
                return array
        kind = "a list of numbers" if dimensions == 1 else "a matrix of numbers"
        raise self._error(f"{name!r} is not {kind}")

    def _number(self, name: str) -> float | None:
        value = self._document.get(name)
        if value is None or isinstance(value, int | float):
            return value
        raise self._error(f"{name!r} is {value!r}, not a number")

    def _matrix(self, values: Any, name: str) -> Any:
        if values is None:
            return None
        matrix = self._numbers(values, name, 2)
        twice = 2 * self._categories.size
        if matrix.shape != (twice, twice):
            raise self._error(
                f"{name!r} has the shape {matrix.shape}, and must have "
                f"{(twice, twice)}: the responses, then the resolutions"
            )
        return matrix

    def _read_pt_mean(self) -> np.ndarray | None:
        values = self._document.get("pt_mean")
        return None if values is None else self._numbers(values, "pt_mean")

    def _read_status(self) -> tuple[str, ...]:
        values = self._document["status"]
        if not isinstance(values, list) or len(values) != self._categories.size:
            raise self._error(
                f"'status' is not a list with {self._categories.size} texts, one for "
                "each category"
            )
        for value in values:
            if value not in _STATUSES:
                raise self._error(
                    f"{value!r} is not a status",
                    f"{nearest(value, _STATUSES)} They are: {', '.join(_STATUSES)}.",
                )
        return tuple(values)

    def _error(self, problem: str, mend: str = "") -> SpecificationError:
        return SpecificationError(f"{self._name}: {problem}.{mend}")


def _edges(values: Any) -> Iterator[float]:
    """Yield the edges of a variable; those of ±9999 at its ends are infinite."""
    edges = [float(value) for value in values]
    for place, edge in enumerate(edges):
        first, last = place == 0, place == len(edges) - 1
        if (first and edge == -INFINITE_EDGE) or (last and edge == INFINITE_EDGE):
            yield math.copysign(math.inf, edge)
        else:
            yield edge


def _without_defaults(
    arrays: dict[str, np.ndarray], double: dict[str, np.ndarray]
) -> tuple[str, ...]:
    """Replace the numbers that stand for none by NaN, and return the statuses."""
    untouched = (arrays["eresp"] == 0) & (arrays["ereso"] == 0)
    for name, start in zip(("resp", "reso"), _START, strict=True):
        # In single precision, as such files are.
        untouched &= arrays[name].astype(np.float32) == np.float32(start)
    for name in ("eresp", "ereso", "eresp_mc", "ereso_mc"):
        arrays[name][arrays[name] == 0] = np.nan
    for name, values in double.items():
        if name.startswith("e"):
            values[values == 1] = np.nan
    for values in (*arrays.values(), *double.values()):
        values[untouched] = np.nan
    lost = untouched | ~np.isfinite(arrays["resp"]) | ~np.isfinite(arrays["reso"])
    return tuple(UNDETERMINED if one else FITTED for one in lost)
