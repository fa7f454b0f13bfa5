"""Profiles in units of the fit that they start from."""

import statistics
from typing import Any

import numpy as np

import everwillow as ew
from benchmarks.problems import templates
from benchmarks.timing import Row, emit, interleave, milliseconds, ratio
from everwillow.profile import contour, minos, scan


TOPIC = "profiles"
PARAMETERS = 100
POINTS = 50


def measure() -> list[Row]:
    """Measure scans, an interval, a contour and the loop of fits against one fit."""
    nll, state, counts = templates(PARAMETERS)
    best = ew.fit(nll, state, counts)
    (place,) = (i for i, name in enumerate(best.labels) if name == "mu")
    assert best.covariance is not None
    error = float(best.covariance[place, place]) ** 0.5
    values = float(best.params["mu"]) + error * np.linspace(-3, 3, POINTS)
    pair = ("mu", "alpha[3]")
    given: tuple[Any, ...] = (nll, best, counts)

    def loop():
        return [
            ew.fit(nll, best.params, counts, fixed={"mu": value}).nll
            for value in values
        ]

    calls = {
        "fit": lambda: ew.fit(nll, state, counts).nll,
        "scan": lambda: scan(*given, name="mu", values=values).nll,
        "scan at once": lambda: (
            scan(*given, name="mu", values=values, vectorised=True).nll
        ),
        "loop": loop,
        "minos": lambda: minos(*given, names=["mu"]).upper,
        "contour": lambda: contour(*given, names=pair).points,
    }
    for call in calls.values():
        call()
    times = interleave(calls, repeats=20)
    curve = contour(*given, names=pair)
    what = {
        "scan": (f"scan of {POINTS} points", 15.0, ""),
        "scan at once": (f"scan of {POINTS} points, vectorised", None, ""),
        "loop": (f"{POINTS} calls of fit, each from the best fit", None, ""),
        "minos": ("both ends of an interval", None, ""),
        "contour": ("contour", None, f"{len(curve.points)} points"),
    }
    rows = [milliseconds(TOPIC, f"fit of {PARAMETERS} parameters, warm", times["fit"])]
    for name, (text, target, note) in what.items():
        units = ratio(times[name], times["fit"])
        fastest = min(times[name]) / min(times["fit"])
        spent = f"{1e3 * statistics.median(times[name]):.3g} ms"
        rows.append(
            Row(
                TOPIC,
                f"{text}, in fits",
                units,
                "x",
                fastest,
                target,
                note=note or spent,
            )
        )
    return rows


if __name__ == "__main__":
    emit(measure())
