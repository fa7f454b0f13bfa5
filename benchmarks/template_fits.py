"""Template fits: the tutorial's, and generated ones of up to 100 000 parameters.

Each is built and fitted in a process of its own, after the imports, so that its peak
memory is that of this one alone.
"""

import itertools
import json
import resource
import statistics
import sys
import time
from typing import Any

from benchmarks.timing import Row, emit, run_fresh


TOPIC = "templates"
KIB_PER_GIB = 2**20
REPEATS = 5
# Bins, processes, systematics, share of the yields that each touches.
CASES = {
    "dense": (2000, 10, 500, 1.0),
    "sparse": (20_000, 5, 4000, 0.02),
    "free": (98_000, 2, 2000, 0.02),
}
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
    import numpy as np  # noqa: PLC0415

    import everwillow as ew  # noqa: PLC0415
    from benchmarks.generated_templates import template_spec  # noqa: PLC0415
    from everwillow.mappings import Composite, Select, postfit  # noqa: PLC0415
    from everwillow.models.templates import TemplateModel  # noqa: PLC0415

    bins, processes, systematics, density = CASES[name]
    sparse = density < 1
    spec = template_spec(bins, processes, systematics, density=density, sparse=sparse)
    build, model = timed(lambda: TemplateModel.from_spec(spec, profile=name != "free"))
    first, result = timed(lambda: ew.fit(model))
    out = {
        "build": build,
        "first": first,
        "warm": repeated(lambda: ew.fit(model), 1 if sparse else REPEATS),
        "edm": float(result.edm),
        "steps": int(result.num_steps),
        "parameters": len(result.labels),
        "effects": int(spec.responses.row.size),
        "success": bool(result.success),
    }
    if not sparse:
        assert result.covariance is not None
        cuts = np.linspace(0, bins, 11).astype(int)
        ten = Composite(
            *(
                Select("bins", selection=f"x:{a}:{b},x:rebin({(b - a) // 10})")
                for a, b in itertools.pairwise(cuts)
            )
        )
        timed(lambda: postfit(ten, model, result))
        out["mappings"] = repeated(lambda: postfit(ten, model, result))
    out["peak"] = peak()
    return out


def ladder(rung: int) -> dict[str, Any]:
    """Time a product with the Hessian, which is what an iteration consists of."""
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

    call()
    return {"effects": int(spec.responses.row.size), "times": repeated(call, 10)}


def rows_of(name: str, found: dict[str, Any]) -> list[Row]:
    """Write one generated case down."""
    bins, processes, systematics, _ = CASES[name]
    size = f"{bins} bins × {processes} processes × {systematics} systematics"
    note = (
        f"{found['steps']} evaluations, EDM {found['edm']:.0e}, "
        f"{found['parameters']} parameters, {found['effects']:.1e} effects"
    )
    memory = {"dense": 1.5, "sparse": 8.0, "free": 6.0}[name]
    target = {"dense": 1.0, "sparse": 240.0, "free": 120.0}[name]
    warm = statistics.median(found["warm"])
    rows = [
        Row(TOPIC, f"{name}: {size}, first fit", found["first"], "s", note=note),
        Row(TOPIC, f"{name}, warm fit", warm, "s", min(found["warm"]), target=target),
        Row(TOPIC, f"{name}, peak", found["peak"], "GiB", target=memory),
    ]
    if "mappings" in found:
        share = statistics.median(found["mappings"]) / warm
        rows.append(
            Row(TOPIC, f"{name}, ten mappings with errors over fit", share, "x",
                target=0.2)
        )  # fmt: skip
    if not found["success"]:
        msg = f"{name}: the fit did not converge"
        raise RuntimeError(msg)
    return rows


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
    for name in CASES:
        rows += rows_of(name, run_fresh(["-m", module, name]))
    for rung in range(len(LADDER)):
        found = run_fresh(["-m", module, str(rung)])
        best = 1e3 * min(found["times"])
        middle = 1e3 * statistics.median(found["times"])
        each = f"{1e6 * best / found['effects']:.2f} ns an effect"
        what = f"evaluation and product, {found['effects']:.1e} effects"
        rows.append(Row(TOPIC, what, middle, "ms", best, note=each))
    return rows


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
