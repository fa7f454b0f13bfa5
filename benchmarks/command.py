"""What the command costs: CPU time of whole processes, with and without short cuts.

Each short cut that makes the command start or end faster is worth its lines if a second
run without it takes at least a tenth more; the rows ``without ...`` say how much.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from benchmarks.timing import Row, emit


TOPIC = "command"
FILE = (
    pathlib.Path(__file__).parents[1]
    / "tests/models/histfactory/data/quickstart_2bin.json"
)
RUN = "import sys; sys.argv[0] = 'everwillow'; from everwillow.cli import main; main()"
# What replaces a short cut by what Python, typer or JAX do without it.
WITHOUT = {
    "options of text that are not converted": """
import sys, types
from typer.core import TyperCommand, TyperGroup
usual = types.ModuleType("everwillow.cli.parsing")
usual.Command, usual.Group = TyperCommand, TyperGroup
sys.modules[usual.__name__] = usual
""",
    "the end by os._exit": "import os, sys; os._exit = sys.exit",
    "seldom collections of garbage": "import gc; gc.set_threshold = lambda *n: None",
}


def cpu(folder: str, *words: str, before: str = "") -> float:
    """Return the CPU time of a process that runs a command, in seconds."""
    environment = {**os.environ, "XDG_CACHE_HOME": folder, "JAX_PLATFORMS": "cpu"}
    started = os.times()
    subprocess.run(
        [sys.executable, "-c", f"{before}\n{RUN}", *words],
        env=environment,
        check=True,
        capture_output=True,
    )
    ended = os.times()
    user = ended.children_user - started.children_user
    return user + ended.children_system - started.children_system


def measure(repeats: int = 7) -> list[Row]:
    """Run the commands in turn."""
    fit = ("fit", str(FILE))
    with tempfile.TemporaryDirectory() as folder:
        cpu(folder, *fit)
        runs = {
            "fit, first run": lambda: cpu(folder, *fit, "--no-cache"),
            "fit, second run": lambda: cpu(folder, *fit),
            "inspect": lambda: cpu(folder, "inspect", str(FILE)),
            "help": lambda: cpu(folder, "--help"),
        }
        for what, before in WITHOUT.items():
            runs[f"without {what}"] = lambda before=before: cpu(
                folder, *fit, before=before
            )
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(repeats):
            for name, run in runs.items():
                times[name].append(run())
    second = times["fit, second run"]
    rows = [
        Row(TOPIC, name, statistics.median(spent), "s", min(spent))
        for name, spent in times.items()
    ]
    rows += [
        Row(
            TOPIC,
            f"without {what}, over a second run",
            statistics.median(times[f"without {what}"]) / statistics.median(second),
            "x",
            min(times[f"without {what}"]) / min(second),
        )
        for what in WITHOUT
    ]
    return rows


if __name__ == "__main__":
    emit(measure())
