"""From a file to a fit with its covariance, for workspaces of a thousand parameters.

Each is read and fitted in a process of its own, after the imports: nothing is compiled
yet, and its peak memory is that of this one alone.
"""

import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.timing import Row, emit, run_fresh
from benchmarks.workspaces import written


TOPIC = "large"
# From the file to the covariance (s), warm (s), memory (GiB).
TARGETS = {"50x20x10x500": (6.0, 0.15, 1.0), "higgs size": (8.0, 1.2, 2.0)}
GROWTH = ("higgs size", "a tenth of it", 1.5)
REPEATS = 5
KIB_PER_GIB = 2**20


def fit_file(path: str) -> dict[str, Any]:
    """Read a file and fit it, here and now."""
    # Imported here, as the parent process needs none of it.
    import jax.monitoring  # noqa: PLC0415

    import everwillow as ew  # noqa: PLC0415
    from everwillow.models.histfactory import from_pyhf  # noqa: PLC0415

    compiling: dict[str, float] = {}

    def listen(event: str, duration: float, **rest: Any) -> None:
        if event.startswith("/jax/core/compile/"):
            stage = event.rsplit("/", 1)[1]
            compiling[stage] = compiling.get(stage, 0) + duration

    jax.monitoring.register_event_duration_secs_listener(listen)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_GIB
    clock = time.perf_counter
    start = clock()
    model = from_pyhf(path)
    loaded = clock()
    found = ew.fit(model)
    covariance = found.covariance
    end = clock()
    warm = []
    for _ in range(REPEATS):
        begin = clock()
        again = ew.fit(model).covariance
        warm.append(clock() - begin)
    assert again is not None
    assert covariance is not None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_GIB
    return {
        "load": loaded - start,
        "all": end - start,
        "compiling": sum(compiling.values()),
        "stages": compiling,
        "warm": warm,
        "peak": peak,
        "base": base,
        "steps": int(found.num_steps),
        "parameters": len(found.labels),
        "edm": float(found.edm),
    }


def rows_of(name: str, found: dict[str, Any]) -> list[Row]:
    """Write one case down."""
    whole, again, memory = TARGETS.get(name, (None, None, None))
    size = f"{found['parameters']} parameters"
    steps = f"{found['steps']} evaluations, EDM {found['edm']:.0e}"
    warm = statistics.median(found["warm"])
    rows = [
        Row(TOPIC, f"{name}, file to model", found["load"], "s", note=size),
        Row(
            TOPIC,
            f"{name}, tracing, lowering and compiling",
            found["compiling"],
            "s",
            note=", ".join(
                f"{stage.split('_')[0]} {taken:.2f}"
                for stage, taken in found["stages"].items()
            ),
        ),
        Row(
            TOPIC, f"{name}, file to covariance", found["all"], "s", target=whole,
            note=steps,
        ),
        Row(
            TOPIC, f"{name}, warm", warm, "s", min(found["warm"]), target=again,
            note="with covariance",
        ),
    ]  # fmt: skip
    base = f"{found['base']:.2f} GiB after the imports"
    rows.append(
        Row(TOPIC, f"{name}, peak", found["peak"], "GiB", target=memory, note=base)
    )
    return rows


def measure() -> list[Row]:
    """Fit all of them, each once from cold."""
    rows, compiling = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name in (*TARGETS, GROWTH[1]):
            path = written(name, Path(folder))
            found = run_fresh(["-m", "benchmarks.large_workspaces", str(path)])
            rows += rows_of(name, found)
            compiling[name] = found["compiling"]
    large, small, target = GROWTH
    rows.append(
        Row(
            TOPIC,
            f"compiling, {large} over {small}",
            compiling[large] / compiling[small],
            "x",
            target=target,
        )
    )
    return rows


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(fit_file(sys.argv[1])))
    else:
        emit(measure())
