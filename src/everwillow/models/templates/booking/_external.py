"""External likelihoods, read from mappings, histograms or matrices."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    KeyCollisionError,
    NonFiniteError,
    ShapeMismatchError,
)
from everwillow.likelihood.templates.spec import ExternalTerm
from everwillow.models.templates.booking._axes import from_uhi
from everwillow.models.templates.booking._book import check_symmetric
from everwillow.models.templates.booking._histograms import numbers


_FORMS = (
    "a mapping by name of parameter, a histogram with categories, or a pair of names "
    "and numbers"
)


def external_term(gradient: Any, hessian: Any, name: str) -> ExternalTerm:
    """Return an external likelihood of named parameters."""
    where = f"external likelihood {name!r}"
    if gradient is None and hessian is None:
        raise ArgumentValueError(f"{where}: give a gradient, a Hessian matrix or both.")
    slopes = {} if gradient is None else _gradient(gradient, where)
    curves = {} if hessian is None else _hessian(hessian, where)
    names = list(dict.fromkeys([*slopes, *(a for a, _ in curves)]))
    places = {parameter: i for i, parameter in enumerate(names)}
    matrix = np.zeros((len(names), len(names)))
    for (a, b), value in curves.items():
        matrix[places[a], places[b]] = value
    vector = np.array([slopes.get(parameter, 0.0) for parameter in names], np.float64)
    if not (np.isfinite(vector).all() and np.isfinite(matrix).all()):
        raise NonFiniteError(f"{where}: a number is not finite.")
    check_symmetric(matrix, where)
    return ExternalTerm(name, tuple(names), vector, matrix)


def _gradient(gradient: Any, where: str) -> dict[str, float]:
    if isinstance(gradient, Mapping):
        return {str(k): float(v) for k, v in gradient.items()}
    (names,), values = _named(gradient, 1, f"{where}, gradient")
    return dict(zip(names, map(float, values), strict=True))


def _hessian(hessian: Any, where: str) -> dict[tuple[str, str], float]:
    where = f"{where}, hessian"
    if not isinstance(hessian, Mapping):
        (rows, columns), values = _named(hessian, 2, where)
        if set(rows) != set(columns):
            raise ArgumentValueError(
                f"{where}: its two axes name different parameters."
            )
        return {
            (a, b): float(values[i, j])
            for i, a in enumerate(rows)
            for j, b in enumerate(columns)
        }
    out: dict[tuple[str, str], float] = {}
    for key, value in hessian.items():
        if isinstance(value, Mapping):
            out.update({(str(key), str(k)): float(v) for k, v in value.items()})
        elif isinstance(key, tuple) and len(key) == 2:
            out[str(key[0]), str(key[1])] = float(value)
        else:
            raise ArgumentTypeError(
                f"{where}: keys are pairs of names, or values are mappings by name; "
                f"got {key!r}: {value!r:.60}."
            )
    # One of two symmetric entries is enough.
    return {**{(b, a): v for (a, b), v in out.items()}, **out}


def _named(tensor: Any, ndim: int, where: str) -> tuple[list[list[str]], np.ndarray]:
    """Return the names along each axis, and the numbers."""
    if hasattr(tensor, "axes") and callable(getattr(tensor, "values", None)):
        axes = [from_uhi(axis, i) for i, axis in enumerate(tensor.axes)]
        if any(axis.labels is None for axis in axes):
            raise ArgumentTypeError(
                f"{where}: the axes of the histogram must be categories, named as the "
                "parameters."
            )
        names = [list(map(str, axis.labels or ())) for axis in axes]
        values = numbers(tensor.values(), where=where)
    elif isinstance(tensor, tuple) and len(tensor) == 2:
        listed = [str(name) for name in tensor[0]]
        values = tensor[1]
        if callable(getattr(values, "toarray", None)):
            values = values.toarray()
        names, values = [listed] * ndim, numbers(values, where=where)
    else:
        raise ArgumentTypeError(
            f"{where}: expected {_FORMS}, got {type(tensor).__name__}."
        )
    shape = tuple(map(len, names))
    if values.ndim != ndim or values.shape != shape:
        raise ShapeMismatchError(
            f"{where}: {shape} names go with numbers of the shape {values.shape}."
        )
    for axis in names:
        if len(set(axis)) < len(axis):
            raise KeyCollisionError(f"{where}: a parameter is named twice in {axis}.")
    return names, values
