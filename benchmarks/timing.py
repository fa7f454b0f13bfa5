"""Clocks, interleaved repetitions, fresh processes and the rows of the table."""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


ROOT = Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        topic: The file that measured it.
        what: What was measured.
        value: The number, a median where there were repetitions.
        unit: ``"s"``, ``"ms"``, ``"x"`` (a ratio), ``""`` (a count).
        best: The smallest of the repetitions, None for a single number.
        target: What it should be, None if nothing is asked for.
        at_most: Whether the target is an upper limit.
        note: Anything needed to read the number.
    """

    topic: str
    what: str
    value: float
    unit: str = ""
    best: float | None = None
    target: float | None = None
    at_most: bool = True
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met, None without one."""
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target


def seconds(call: Callable[[], Any]) -> float:
    """Time one call, waiting for what JAX still computes."""
    # JAX is imported here, as the cost of importing it is one of the things measured.
    import jax  # noqa: PLC0415

    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def interleave(
    calls: Mapping[str, Callable[[], Any]],
    *,
    repeats: int,
    budget: float = 20.0,
    block: float = 0.0,
) -> dict[str, list[float]]:
    """Time calls in turn, so that a noisy neighbour disturbs all of them alike.

    Args:
        calls: Name to call.
        repeats: Number of rounds.
        block: Each is called again and again for so many seconds before its turn ends,
            and counts with the mean of all calls but the first: what a warm call costs.
            The first also pays for the caches that the others have filled.
        budget: Seconds that one call may use in all rounds together; a slow peer is
            repeated less often than the others.

    Returns:
        For each name its times in seconds, at least one.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            if sum(times[name]) < budget:
                times[name].append(_turn(call, block))
    return times


def _turn(call: Callable[[], Any], block: float) -> float:
    """Return the time of one call, or the mean of those that a block has room for."""
    first = seconds(call)
    if first >= block:
        return first
    number = max(1, int(block / first))
    return sum(seconds(call) for _ in range(number)) / number


def milliseconds(topic: str, what: str, times: list[float], **rest: Any) -> Row:
    """Make a row of repeated times."""
    median, best = 1e3 * statistics.median(times), 1e3 * min(times)
    return Row(topic, what, median, "ms", best, **rest)


def ratio(slow: list[float], fast: list[float]) -> float:
    """Return how many times faster the second is, by medians."""
    return statistics.median(slow) / statistics.median(fast)


def run_fresh(arguments: list[str]) -> Any:
    """Run `python ARGUMENTS` in a new process; return the JSON of its last line."""
    paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    if override := os.environ.get("EVERWILLOW_SRC"):
        paths.insert(1, override)
    environment = {
        "JAX_PLATFORMS": "cpu",
        **os.environ,
        "JAX_ENABLE_X64": "1",
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }
    # Users have compiled bytecode; without it every import would compile it anew.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def emit(rows: list[Row]) -> None:
    """Print rows as one line of JSON, for `run_fresh`."""
    print(json.dumps([dataclasses.asdict(row) for row in rows]))
