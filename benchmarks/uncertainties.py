"""Errors after a fit: the first call in a process, and further ones."""

import functools as ft

import numpy as np

import everwillow as ew
from benchmarks.problems import templates
from benchmarks.timing import Row, emit, interleave, milliseconds, seconds
from everwillow.uncertainty import uncertainties


TOPIC = "uncertainties"


def errors(nll, source, observation) -> np.ndarray:
    """Return the errors at a result or a State, all parameters in one vector."""
    found = uncertainties(nll, source, observation)
    return np.concatenate([np.ravel(v) for v in found.values() if v is not None])


def measure() -> list[Row]:
    """Time the errors of fits with and without the Hessian at hand."""
    rows = []
    for size in (3, 300):
        objective, state, counts = templates(size)
        result = ew.fit(objective, state, counts)
        for what, source in (("of a result", result), ("of a State", result.params)):
            call = ft.partial(errors, objective, source, counts)
            title = f"{size} parameters, {what}"
            cold = seconds(call)
            warm = interleave({"warm": call}, repeats=20)["warm"]
            rows.append(Row(TOPIC, f"{title}, first call", 1e3 * cold, "ms"))
            rows.append(milliseconds(TOPIC, f"{title}, again", warm))
    return rows


if __name__ == "__main__":
    emit(measure())
