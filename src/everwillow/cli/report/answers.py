"""Results as one JSON object, for ``--format json``.

Numbers have all digits; what is NaN or infinite is null.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from everwillow._bands import BAND_TEXTS
from everwillow.workflows.report import (
    AsymmetricErrors,
    ChiSquare,
    FitSummary,
    Parameters,
)


def as_json(answer: Mapping[str, Any]) -> str:
    """Return an answer as text.

    Example:
        >>> print(as_json({"poi": "mu", "limit": float("nan")}))
        {
          "poi": "mu",
          "limit": null
        }
    """
    return json.dumps(_plain(answer), indent=2, allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Return a value of objects, lists, numbers, texts and null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value)]
        return {name: _plain(getattr(value, name)) for name in fields}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    array = np.asarray(value)
    if array.ndim:
        return [_plain(one) for one in array]
    number = array.item()
    return number if not isinstance(number, float) or math.isfinite(number) else None


def fit_answer(fit: FitSummary, params: Parameters) -> dict[str, Any]:
    """Return a fit and its parameters, one object for each."""
    columns = {
        "value": params.values,
        "error": params.errors,
        "pull": params.pulls,
        "constraint": params.constraints,
        "at_bound": params.at_bound,
        "fixed": params.frozen,
    }
    if params.stopped_at is not None:
        columns["stopped_at"] = params.stopped_at
    return {
        "success": fit.success,
        "status": fit.status,
        "twice_nll": 2 * fit.nll,
        "edm": fit.edm,
        "parameters": rows("name", params.names, columns),
    }


def rows(key: str, names: Any, columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return columns as a list of objects.

    Example:
        >>> rows("name", ["a", "b"], {"value": [1.0, 2.0]})
        [{'name': 'a', 'value': 1.0}, {'name': 'b', 'value': 2.0}]
    """
    return [
        {key: name, **{head: column[i] for head, column in columns.items()}}
        for i, name in enumerate(names)
    ]


def interval_answer(errors: AsymmetricErrors) -> dict[str, Any]:
    """Return asymmetric errors."""
    columns = {
        "value": errors.values,
        "lower": errors.lower,
        "upper": errors.upper,
        "lower_status": errors.lower_status,
        "upper_status": errors.upper_status,
    }
    return {"cl": errors.cl, "intervals": rows("name", errors.names, columns)}


def band_answer(values: Any) -> dict[str, Any]:
    """Return numbers expected at -2, -1, 0, 1 and 2 sigma, by these texts."""
    return dict(zip(BAND_TEXTS, values, strict=True))


def chi2_answer(test: ChiSquare) -> dict[str, Any]:
    """Return a chi2 test."""
    return {"statistic": test.statistic, "ndof": test.ndof, "pvalue": test.pvalue}
