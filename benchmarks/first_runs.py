"""What the first and the second run cost: commands and limits of a published search.

CPU time of whole processes for commands, which start with an empty cache; CPU time of
the call alone, in a fresh process, for Python.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.command import cpu
from benchmarks.timing import Row, emit, run_fresh
from benchmarks.workspaces import published


TOPIC = "first runs"
CASE = "susy_bottom_squarks"
# The words of each command, with goals for its first and its second run.
COMMANDS = {
    "fit": (("fit",), 2.4, 1.0),
    "limit": (("limit",), 7.0, 1.5),
    "scan": (("scan",), 6.0, 1.5),
    "impacts --refit": (("impacts", "--refit"), 6.0, 1.5),
}
CALLS = {
    "2 bins": ("six limits, 2 bins", 2.0),
    "66 parameters": ("six limits, 66 parameters", 5.0),
    "gradient": ("gradient of an expected limit, 2 parameters", 8.0),
}


def child(which: str) -> dict[str, float]:
    """Make the first call in this process."""
    # What importing costs must not be paid by the parent.
    import jax  # noqa: PLC0415
    import jax.numpy as jnp  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    import everwillow as ew  # noqa: PLC0415
    from benchmarks.command import FILE  # noqa: PLC0415
    from everwillow.models.histfactory import from_pyhf  # noqa: PLC0415

    jax.config.update("jax_enable_x64", True)
    if which == "gradient":
        signal, background = np.array([3.0, 12.0, 5.0]), np.array([60.0, 52.0, 40.0])

        def expected(p):
            return p["mu"] * signal + 1.05 ** p["norm"] * background

        model = ew.Model(
            lambda p, n: jnp.sum(expected(p) - n * jnp.log(expected(p))),
            {"mu": 1.0, "norm": 0.0},
            np.array([63.0, 57.0, 38.0]),
            constraints={"norm": ew.Normal(0.0, 1.0)},
            expected=expected,
        )
        data = model.observation["main"]

        def median(scale):
            observation = {**model.observation, "main": scale * data}
            found = ew.limits(model, "mu", observation=observation)
            return found.expected["median"]

        call = jax.grad(median)
    else:
        file = FILE if which == "2 bins" else published(CASE)
        model = from_pyhf(file)

        def call(_):
            return ew.limits(model).observed

    start = time.process_time()
    assert np.isfinite(call(1.0))
    return {"cpu": time.process_time() - start}


def measure(repeats: int = 3) -> list[Row]:
    """Run the commands twice each, and the calls, in fresh processes."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{CASE}.json"
        file.write_text(json.dumps(published(CASE)))
        for name, (words, *goals) in COMMANDS.items():
            runs = []
            for i in range(repeats):
                cache = str(Path(folder) / f"{words[0]} {i}")
                command = (words[0], str(file), *words[1:])
                runs.append([cpu(cache, *command) for _ in range(2)])
            for which, times, goal in zip(
                ("first", "second"), zip(*runs, strict=True), goals, strict=True
            ):
                what = f"{name}, 66 parameters, {which} run"
                median = statistics.median(times)
                rows.append(Row(TOPIC, what, median, "s", min(times), goal))
    for which, (what, goal) in CALLS.items():
        command = ["-m", "benchmarks.first_runs", "child", which]
        times = [run_fresh(command)["cpu"] for _ in range(repeats)]
        median = statistics.median(times)
        rows.append(Row(TOPIC, f"{what}, first", median, "s", min(times), goal))
    return rows


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        print(json.dumps(child(sys.argv[2])))
    else:
        emit(measure())
