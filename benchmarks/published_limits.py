"""Observed and expected limits of a published likelihood of 66 parameters."""

import everwillow as ew
from benchmarks.timing import Row, emit, milliseconds, seconds
from benchmarks.workspaces import published
from everwillow.models.histfactory import from_pyhf


TOPIC = "published limits"
CASE = "susy_bottom_squarks"
TARGET = 15.0
REPEATS = 30


def measure() -> list[Row]:
    """Time the six limits, warm; what pyhf takes is in the topic `limits`."""
    model = from_pyhf(published(CASE))

    def limits():
        return ew.limits(model, model.poi).observed

    first = seconds(limits)
    times = [seconds(limits) for _ in range(REPEATS)]
    found = ew.limits(model, model.poi)
    note = f"first {first:.2f} s; {int(found.fits)} fits; {float(found.observed):.4g}"
    what = f"six limits, {CASE}"
    return [milliseconds(TOPIC, what, times, target=TARGET, note=note)]


if __name__ == "__main__":
    emit(measure())
