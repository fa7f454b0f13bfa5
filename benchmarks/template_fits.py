"""Template fits: the tutorial's, and generated ones of up to 100 000 parameters.

Each is built and fitted in a process of its own, after the imports, so that its peak
memory is that of this one alone. `python -m benchmarks.template_fits NAME` measures one
of `CASES`, a rung of the ladder (0 to 4), or ``tutorial``.
"""

import itertools
import json
import math
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.timing import Row, emit, run_fresh


TOPIC = "templates"
KIB_PER_GIB = 2**20
REPEATS, RUNGS = 5, 20
# Bins, processes, systematics, share of the yields that each touches.
CASES = {
    "dense": (2000, 10, 500, 1.0),
    "blocks": (2000, 10, 500, 1.0),
    "one matrix": (2000, 10, 500, 1.0),
    "sparse": (20_000, 5, 4000, 0.02),
    "free": (98_000, 2, 2000, 0.02),
    "free, few": (980, 2, 20, 0.02),
}
# Twenty channels; so many of the systematics act on a single one of them.
CHANNELS, LOCAL = 20, 0.8
IN_CHANNELS = ("blocks", "one matrix")
# What JAX calls tracing, lowering and compiling.
COMPILED = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)
# Numbers of stored responses for the time of an iteration: bins, systematics.
LADDER = ((2000, 500), (6300, 500), (20_000, 500), (20_000, 1600), (20_000, 5000))


def peak() -> float:
    """Return the peak memory of this process in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_GIB


def timed(call: Any) -> tuple[float, Any]:
    """Return how long a call takes, and what it returns."""
    start = time.perf_counter()
    found = call()
    return time.perf_counter() - start, found


def repeated(call: Any, times: int = REPEATS) -> list[float]:
    """Return how long each of several calls takes."""
    return [timed(call)[0] for _ in range(times)]


def tutorial() -> dict[str, Any]:
    """Build and fit the model of the tutorial."""
    # Imported here, as the parent process needs none of it.
    import everwillow as ew  # noqa: PLC0415
    from benchmarks.generated_templates import tutorial as book  # noqa: PLC0415

    def cold():
        model = book().build()
        return model, ew.fit(model).covariance

    first, (model, _) = timed(cold)
    warm = repeated(lambda: ew.fit(model).covariance, 20)
    return {"first": first, "warm": warm, "peak": peak()}


def generated(name: str) -> dict[str, Any]:
    """Generate and fit one of `CASES`."""
    import jax  # noqa: PLC0415

    import everwillow as ew  # noqa: PLC0415
    from benchmarks.generated_templates import template_spec  # noqa: PLC0415
    from everwillow.models.templates import TemplateModel  # noqa: PLC0415

    bins, processes, systematics, density = CASES[name]
    sparse = density < 1
    inside = name in IN_CHANNELS
    spec = template_spec(
        bins,
        processes,
        systematics,
        density=density,
        sparse=sparse,
        channels=CHANNELS if inside else 1,
        local=LOCAL if inside else 0.0,
    )
    free = name.startswith("free")
    build, model = timed(lambda: TemplateModel.from_spec(spec, profile=not free))
    if name == "one matrix":
        model = in_one_matrix(model)
    durations = dict.fromkeys(COMPILED, 0.0)

    def listen(event, seconds, **_):
        if event in durations:
            durations[event] += seconds

    jax.monitoring.register_event_duration_secs_listener(listen)
    first, result = timed(lambda: ew.fit(model))
    kept = jax.tree.leaves(model.terms.arrays.responses)
    out = {
        "build": build,
        "first": first,
        "compile": list(durations.values()),
        "responses": sum(leaf.nbytes for leaf in kept),
        "covariance": timed(lambda: result.covariance)[0],
        "errors": result.covariance is not None,
        "warm": repeated(lambda: ew.fit(model), 1 if sparse else REPEATS),
        "edm": float(result.edm),
        "steps": int(result.num_steps),
        "parameters": len(result.labels),
        "effects": int(spec.responses.row.size),
        "success": bool(result.success),
    }
    if name == "dense":
        out["share"] = share_of_mappings(model, result, bins)
    out["peak"] = peak()
    return out


def share_of_mappings(model: Any, result: Any, bins: int) -> list[float]:
    """Return how long ten mappings with errors take, in units of a fit.

    They are timed in turn with the fit, as a noisy machine has slow minutes.
    """
    import numpy as np  # noqa: PLC0415

    import everwillow as ew  # noqa: PLC0415
    from everwillow.mappings import Composite, Select, postfit  # noqa: PLC0415

    cuts = np.linspace(0, bins, 11).astype(int)
    ten = Composite(
        *(
            Select("bins", selection=f"x:{a}:{b},x:rebin({(b - a) // 10})")
            for a, b in itertools.pairwise(cuts)
        )
    )
    timed(lambda: postfit(ten, model, result))
    pairs = [
        (timed(lambda: ew.fit(model))[0], timed(lambda: postfit(ten, model, result))[0])
        for _ in range(REPEATS)
    ]
    return [mapping / fit for fit, mapping in pairs]


def in_one_matrix(model: Any) -> Any:
    """Return a model with the dense layout, whatever it has been given."""
    import equinox as eqx  # noqa: PLC0415

    from everwillow.likelihood.templates.arrays import Rows  # noqa: PLC0415
    from everwillow.likelihood.templates.dense import pack_dense  # noqa: PLC0415

    rows = Rows(model.spec.templates, slice(0, model.layout.fitted))
    dense = pack_dense(model.spec.responses, rows)
    return eqx.tree_at(lambda m: m.terms.arrays.responses, model, dense)


def ladder(rung: int) -> dict[str, Any]:
    """Time a product with the Hessian, which is what an iteration consists of.

    Of the processor, which other work on the machine disturbs less.
    """
    import equinox as eqx  # noqa: PLC0415
    import jax  # noqa: PLC0415
    import jax.numpy as jnp  # noqa: PLC0415

    from benchmarks.generated_templates import template_spec  # noqa: PLC0415
    from everwillow.models.templates import TemplateModel  # noqa: PLC0415

    bins, systematics = LADDER[rung]
    spec = template_spec(bins, 5, systematics, density=0.02, sparse=True)
    model = TemplateModel.from_spec(spec)
    x = jnp.zeros(model.terms.size).at[model.terms.rate_place].set(1.0)

    @eqx.filter_jit
    def product(terms, x, main, v):
        return terms.evaluation(x, main).curvature.matvec(v)

    def call():
        main = model.observation["main"]
        return jax.block_until_ready(product(model.terms, x, main, x))

    def processor():
        start = time.process_time()
        call()
        return time.process_time() - start

    call()
    times = [processor() for _ in range(RUNGS)]
    return {"effects": int(spec.responses.row.size), "times": times}


MEMORY = {"dense": 1.5, "sparse": 8.0, "free": 6.0}
TARGET = {"dense": 1.0, "sparse": 240.0, "free": 120.0}


def rows_of(name: str, found: dict[str, Any]) -> list[Row]:
    """Write one generated case down."""
    if not found["success"]:
        msg = f"{name}: the fit did not converge"
        raise RuntimeError(msg)
    bins, processes, systematics, _ = CASES[name]
    size = f"{bins} bins × {processes} processes × {systematics} systematics"
    if name in IN_CHANNELS:
        size += f", {LOCAL:.0%} of them in one of {CHANNELS} channels"
    note = (
        f"{found['steps']} evaluations, EDM {found['edm']:.0e}, "
        f"{found['parameters']} parameters, {found['effects']:.1e} effects"
    )
    errors = "with" if found["errors"] else "without"
    kept = f"responses {found['responses'] / 1e6:.0f} MB"
    trace, lower, backend = found["compile"]
    parts = f"trace {trace:.2f} s, lower {lower:.2f} s, XLA {backend:.2f} s"
    warm = statistics.median(found["warm"])
    rows = [
        Row(TOPIC, f"{name}: {size}, first fit", found["first"], "s", note=note),
        Row(TOPIC, f"{name}, compiling it", sum(found["compile"]), "s", note=parts),
        Row(TOPIC, f"{name}, warm fit", warm, "s", min(found["warm"]),
            target=TARGET.get(name), note=f"{errors} covariance"),
        Row(TOPIC, f"{name}, peak", found["peak"], "GiB", target=MEMORY.get(name),
            note=kept),
    ]  # fmt: skip
    if "share" in found:
        share = statistics.median(found["share"])
        rows.append(
            Row(TOPIC, f"{name}, ten mappings with errors over fit", share, "x",
                target=0.2)
        )  # fmt: skip
    return rows


def comparisons(found: dict[str, dict[str, Any]]) -> list[Row]:
    """Compare blocks with one matrix, and compiling for many parameters and few."""
    warm = [min(found[name]["warm"]) for name in ("one matrix", "blocks")]
    compiling = [sum(found[name]["compile"]) for name in ("free", "free, few")]
    return [
        Row(TOPIC, "one matrix over blocks, warm fit", warm[0] / warm[1], "x"),
        Row(TOPIC, "compiling for 100 000 free parameters over 1000",
            compiling[0] / compiling[1], "x", target=1.5),
    ]  # fmt: skip


def climb() -> list[Row]:
    """Time products of ever more effects, and say how the time of the processor grows.

    The power is that of a straight line through the logarithms of all.
    """
    rows, effects, best = [], [], []
    for rung in range(len(LADDER)):
        found = run_fresh(["-m", "benchmarks.template_fits", str(rung)])
        effects.append(found["effects"])
        best.append(1e3 * min(found["times"]))
        middle = 1e3 * statistics.median(found["times"])
        each = f"{1e6 * best[-1] / effects[-1]:.2f} ns an effect"
        what = f"product, processor time, {effects[-1]:.1e} effects"
        rows.append(Row(TOPIC, what, middle, "ms", best[-1], note=each))
    power = statistics.linear_regression(
        [math.log(n) for n in effects], [math.log(t) for t in best]
    ).slope
    what = "power of the number of effects that the time grows with"
    return [*rows, Row(TOPIC, what, power)]


def draw(rows: list[Row], path: Path) -> None:
    """Draw how the time of an evaluation and a product grows with the effects."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "everwillow"
    import matplotlib.pyplot as plt  # noqa: PLC0415

    rungs = [row for row in rows if row.what.endswith(" effects")]
    effects = [float(row.what.split()[-2]) for row in rungs]
    best = [row.best for row in rungs]
    assert all(best)
    each = best[-1] / effects[-1]
    figure, axes = plt.subplots(figsize=(5, 3.4), layout="constrained")
    label = f"{1e6 * each:.0f} ns an effect"
    axes.loglog(effects, [each * n for n in effects], "--", color="0.6", label=label)
    axes.loglog(effects, best, "o-", label="measured")
    axes.set(xlabel="stored effects", ylabel="processor time of a product [ms]")
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def measure() -> list[Row]:
    """Fit all of them, each once from cold."""
    module = "benchmarks.template_fits"
    found = run_fresh(["-m", module, "tutorial"])
    warm = [1e3 * t for t in found["warm"]]
    rows = [
        Row(TOPIC, "tutorial, build to covariance, cold", found["first"], "s",
            target=3.0),
        Row(TOPIC, "tutorial, warm fit", statistics.median(warm), "ms", min(warm),
            target=3.0),
    ]  # fmt: skip
    cases = {name: run_fresh(["-m", module, name]) for name in CASES}
    for name, numbers in cases.items():
        rows += rows_of(name, numbers)
    return [*rows, *comparisons(cases), *climb()]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        case = sys.argv[1]
        if case == "tutorial":
            print(json.dumps(tutorial()))
        elif case in CASES:
            print(json.dumps(generated(case)))
        else:
            print(json.dumps(ladder(int(case))))
    else:
        emit(measure())
