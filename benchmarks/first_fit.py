"""From a fresh process to the first fitted numbers: trace, compile and run."""

import json
import statistics
import sys
import time

from benchmarks.timing import Row, emit, run_fresh


def child() -> dict[str, float]:
    """Fit for the first time in this process, and find the errors."""
    # What importing costs is measured elsewhere, and must not be paid by the parent.
    from benchmarks.problems import two_measurements  # noqa: PLC0415
    from benchmarks.uncertainties import errors  # noqa: PLC0415
    from everwillow import fit  # noqa: PLC0415

    times = {}
    start = time.perf_counter()
    nll, state, observation = two_measurements()
    result = fit(nll, state, observation)
    times["fit"] = time.perf_counter() - start
    assert abs(float(result.params["mass"]) - 125.2767) < 1e-3

    start = time.perf_counter()
    found = errors(nll, result, observation)
    times["errors"] = time.perf_counter() - start
    assert abs(found[0] - 2.4084) < 1e-3

    start = time.perf_counter()
    fit(nll, state, observation)
    times["second"] = time.perf_counter() - start
    return times


def measure(repeats: int = 5) -> list[Row]:
    """Take the medians of fresh processes."""
    runs = [run_fresh(["-m", "benchmarks.first_fit", "child"]) for _ in range(repeats)]

    def row(name: str, what: str, target: float | None) -> Row:
        values = [run[name] for run in runs]
        return Row(
            "first fit", what, statistics.median(values), "s", min(values), target
        )

    return [
        row("fit", "two-measurement combination, first fit after import", 1.2),
        row("errors", "its uncertainties, first call", 0.5),
        row("second", "the same fit again", None),
    ]


if __name__ == "__main__":
    if sys.argv[1:] == ["child"]:
        print(json.dumps(child()))
    else:
        emit(measure())
