"""What `import everwillow` costs on top of what it stands on."""

import statistics

from benchmarks.timing import Row, emit, run_fresh


BASE = "import jax, jax.numpy, equinox, optimistix"
CLOCK = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"


def measure(repeats: int = 7) -> list[Row]:
    """Import in fresh processes, in turn."""
    imports = {"base": BASE, "ours": f"{BASE}; import everwillow"}
    times: dict[str, list[float]] = {name: [] for name in imports}
    # The first import writes bytecode, and is not counted.
    run_fresh(["-c", CLOCK.format(imports["ours"])])
    for _ in range(repeats):
        for name, statement in imports.items():
            times[name].append(run_fresh(["-c", CLOCK.format(statement)]))
    base, ours = (statistics.median(times[name]) for name in ("base", "ours"))
    # The minima are the least disturbed by other work on the machine.
    fair = min(times["ours"]) / min(times["base"])
    return [
        Row("import", "jax, equinox, optimistix", base, "s", min(times["base"])),
        Row("import", "the same and everwillow", ours, "s", min(times["ours"])),
        Row("import", "ratio", ours / base, "x", fair, target=1.15),
    ]


if __name__ == "__main__":
    emit(measure())
