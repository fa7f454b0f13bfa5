"""Observed and expected upper limits, ours and pyhf's."""

import numpy as np
import pyhf

import everwillow as ew
from benchmarks.timing import Row, emit, interleave, milliseconds, ratio, seconds
from benchmarks.uncorrelated_background import BACK_ENDS, ours, theirs


TOPIC = "limits"
TARGET = 50.0


def peer_limits(bins: int, backend: str, optimizer: str):
    """Return a call that finds the six limits by pyhf's root finding."""

    def run():
        pyhf.set_backend(backend, optimizer, precision="64b")
        model, data = theirs(bins)
        return pyhf.infer.intervals.upper_limits.upper_limit(data, model)

    return run


def measure() -> list[Row]:
    """Time all six limits of one model, warm."""
    model = ours(2)
    cold = seconds(lambda: ew.limits(model, "mu").observed)
    found = ew.limits(model, "mu")
    # Its root finding keeps results under the POI, which JAX arrays do not allow.
    peers = {
        f"pyhf {b} {o}": peer_limits(2, b, o) for b, o in BACK_ENDS if b == "numpy"
    }
    for call in peers.values():
        observed, expected = call()
    calls = {"everwillow": lambda: ew.limits(model, "mu").observed, **peers}
    times = interleave(calls, repeats=9)
    best = min(peers, key=lambda name: min(times[name]))
    ends = [float(found.observed), *(float(v) for _, v in found.expected)]
    other = [float(observed), *map(float, expected)]
    difference = float(np.max(np.abs(np.array(ends) / np.array(other) - 1)))
    rows = [milliseconds(TOPIC, f"six limits, {name}", times[name]) for name in calls]
    rows.append(
        Row(TOPIC, "trace, compile and run", cold, "s", note=f"{int(found.fits)} fits")
    )
    rows.append(
        Row(
            TOPIC,
            f"{best} over everwillow",
            ratio(times[best], times["everwillow"]),
            "x",
            min(times[best]) / min(times["everwillow"]),
            target=TARGET,
            at_most=False,
            note=f"limits differ by {difference:.0e} at most",
        )
    )
    return rows


if __name__ == "__main__":
    emit(measure())
