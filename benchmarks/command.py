"""What the command costs: CPU time of whole processes, with and without short cuts.

Each short cut that makes the command start or end faster is worth its lines if a
command takes at least a tenth more without it; the rows ``without ...`` have the ratio
for the command that gains most.
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
# The command that gains most from a short cut, and code that switches it off.
WITHOUT = {
    "options of text that are not converted": (
        "help",
        """
import sys, types
from typer.core import TyperCommand, TyperGroup
usual = types.ModuleType("everwillow.cli.parsing")
usual.Command, usual.Group = TyperCommand, TyperGroup
sys.modules[usual.__name__] = usual
""",
    ),
    "the end by os._exit": (
        "fit, second run",
        "import os, sys; os._exit = sys.exit",
    ),
    "seldom collections of garbage": (
        "inspect",
        "import gc; gc.set_threshold = lambda *n: None",
    ),
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
        words = {
            "fit, first run": (*fit, "--no-cache"),
            "fit, second run": fit,
            "inspect": ("inspect", str(FILE)),
            "help": ("fit", "--help"),
        }
        runs = {name: (command, "") for name, command in words.items()}
        for what, (command, before) in WITHOUT.items():
            runs[f"{command} without {what}"] = words[command], before
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(repeats):
            for name, (command, before) in runs.items():
                times[name].append(cpu(folder, *command, before=before))
    rows = [
        Row(TOPIC, name, statistics.median(spent), "s", min(spent))
        for name, spent in times.items()
    ]
    for what, (command, _) in WITHOUT.items():
        name = f"{command} without {what}"
        ratio = statistics.median(times[name]) / statistics.median(times[command])
        least = min(times[name]) / min(times[command])
        rows.append(Row(TOPIC, f"{name}, ratio", ratio, "x", least))
    return rows


if __name__ == "__main__":
    emit(measure())
