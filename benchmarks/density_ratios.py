"""Density-ratio fits of up to two million events, against their plain formula.

The peer is `plain_densities`, compiled by JAX and minimised by MIGRAD, as tools for
such fits do. It has no normalisation of densities, so it is compared with models with
``normalize=False``; the default is timed beside.

`python -m benchmarks.density_ratios NAME KIND` measures one of `CASES` in this process:
``cold`` from the imports on, with memory, or ``warm``, with the peer in turn.
`python -m benchmarks.density_ratios --markdown` prints the table for the documentation.
"""

import functools as ft
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.timing import Row, emit, interleave, milliseconds, run_fresh


TOPIC = "density ratios"
BYTES_PER_KIB = 1024
BYTES = 8
POINTS, ERRORS = 50, 3.0
# A peer that takes longer is not run: its time is the number of its calls for so many
# events times the time of one call.
FEW_EVENTS, LONGEST = 20_000, 20.0
# Neighbouring points of the scan that the peer fits, where it does not fit all.
FEW_POINTS = 5
REPEATS, BUDGET = 7, 15.0


@dataclass(frozen=True)
class Case:
    """A size, and what is asked of it.

    Attributes:
        events: Number of events.
        samples: Number of samples.
        systematics: Number of systematics, each of which acts on all samples.
        seconds: Longest time of a first fit.
        memory: Largest peak memory over the size of the input.
    """

    events: int
    samples: int
    systematics: int
    seconds: float | None = None
    memory: float | None = None

    @property
    def input(self) -> int:
        """The bytes of weights, ratios and ratios at ±1."""
        arrays = 1 + self.samples * (1 + 2 * self.systematics)
        return BYTES * self.events * arrays


CASES = {
    "7k": Case(7000, 3, 2),
    "200k": Case(200_000, 3, 2),
    "2M": Case(2_000_000, 3, 2, seconds=20.0, memory=3.0),
    "500k": Case(500_000, 5, 20, memory=3.0),
}
GRADIENT, FIT, SCAN = 3.0, 10.0, 30.0


def peak() -> int:
    """Return the peak memory of this process in bytes."""
    return BYTES_PER_KIB * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return how long a call takes, and what it returns."""
    import jax  # noqa: PLC0415

    start = time.perf_counter()
    found = jax.block_until_ready(call())
    return time.perf_counter() - start, found


def fitted(model: Any) -> Any:
    """Fit with the covariance."""
    import everwillow as ew  # noqa: PLC0415

    result = ew.fit(model)
    assert result.covariance is not None
    return result


def scan_values(result: Any) -> np.ndarray:
    """Return the values of the signal strength of a scan."""
    mu, error = float(result.params["mu"]), float(result.errors["mu"])
    return mu + error * np.linspace(-ERRORS, ERRORS, POINTS)


def scanned(model: Any, result: Any) -> Any:
    """Scan the signal strength."""
    from everwillow.profile import scan  # noqa: PLC0415

    found = scan(model, result, name="mu", values=scan_values(result))
    return np.asarray(found.nll)


def cold(name: str) -> dict[str, Any]:
    """Build, fit and evaluate one case with the defaults, all for the first time.

    Memory is that of the input and of all that follows, without the imports.
    """
    from benchmarks.generated_densities import density_spec  # noqa: PLC0415
    from everwillow.models.nsbi import NsbiModel  # noqa: PLC0415
    from everwillow.models.nsbi.vectors import VectorLikelihood  # noqa: PLC0415

    case = CASES[name]
    # The first array of JAX starts its threads.
    timed(lambda: np.zeros(1))
    base = peak()
    spec = density_spec(case.events, case.samples, case.systematics)
    build, model = timed(lambda: NsbiModel.from_spec(spec))
    fit, result = timed(lambda: fitted(model))
    top = peak()
    vector = VectorLikelihood.of(model)
    return {
        "build": build,
        "fit": fit,
        "value": timed(lambda: vector.value(vector.starts))[0],
        "gradient": timed(lambda: vector.gradient(vector.starts))[0],
        "scan": timed(lambda: scanned(model, result))[0],
        "memory": top - base,
        "steps": int(result.num_steps),
        "edm": float(result.edm),
    }


class Peer:
    """The plain formula, compiled, with MIGRAD.

    Attributes:
        starts: Where fits start.
        value: -ln L.
        gradient: Its derivatives.
    """

    def __init__(self, spec: Any) -> None:
        import jax  # noqa: PLC0415

        from benchmarks.plain_densities import plain_data, plain_nll  # noqa: PLC0415

        data = plain_data(spec)
        self.starts = np.array([1.0, 1.0, *np.zeros(len(spec.order) - 2)])
        self.value = ft.partial(_swapped, jax.jit(plain_nll), data)
        self.gradient = ft.partial(_swapped, jax.jit(jax.grad(plain_nll)), data)

    def minuit(self) -> Any:
        """Return a new minimiser at the start values."""
        from iminuit import Minuit  # noqa: PLC0415

        def gradient(x: np.ndarray) -> np.ndarray:
            return np.asarray(self.gradient(x))

        names = ["mu", *(f"x{i}" for i in range(1, self.starts.size))]
        found = Minuit(
            lambda x: float(self.value(x)), self.starts, grad=gradient, name=names
        )
        found.errordef = Minuit.LIKELIHOOD
        return found

    def fit(self) -> Any:
        """Minimise; MIGRAD has the covariance then."""
        return self.minuit().migrad()

    def scan(self, values: np.ndarray) -> Any:
        """Profile at some values, each from the start values, as `mnprofile` does."""
        found = self.minuit()
        found.mnprofile("mu", grid=values)
        return found

    def cost(self, calls: tuple[int, int]) -> float:
        """Return how long so many values and gradients take."""
        values, gradients = (
            min(timed(lambda f=f: f(self.starts))[0] for _ in range(2))
            for f in (self.value, self.gradient)
        )
        return calls[0] * values + calls[1] * gradients


def _swapped(function: Any, data: Any, x: Any) -> Any:
    return function(x, data)


def peer_times(peer: Peer, case: Case, values: np.ndarray) -> dict[str, Any]:
    """Return how long the fit and the scan of the peer take, and how that was found."""
    from benchmarks.generated_densities import density_spec  # noqa: PLC0415

    events = min(case.events, FEW_EVENTS)
    few = Peer(density_spec(events, case.samples, case.systematics))
    fit, (scan, points) = few.fit(), few_points(few, values)
    fit_calls = fit.nfcn, fit.ngrad
    scan_calls = tuple(round(n * POINTS / points) for n in (scan.nfcn, scan.ngrad))
    out = {
        "fit": peer.cost(fit_calls),
        "scan": peer.cost(scan_calls),
        "fit note": f"{fit_calls[0]} values, {fit_calls[1]} gradients",
        "scan note": f"{scan_calls[0]} values, {scan_calls[1]} gradients",
    }
    for what, call in (("fit", peer.fit), ("scan", lambda: peer.scan(values))):
        if out[what] <= LONGEST:
            out[what], found = timed(call)
            out[f"{what} note"] = f"{found.nfcn} values, {found.ngrad} gradients"
        else:
            out[f"{what} note"] += (
                f", counted with {events} events, times the time of a call"
            )
    return out


def few_points(peer: Peer, values: np.ndarray) -> tuple[Any, int]:
    """Scan some of the values, of all distances to the minimum."""
    some = values[:: POINTS // FEW_POINTS]
    return peer.scan(some), some.size


def warm(name: str) -> dict[str, Any]:
    """Time one case in turn with the peer, everything compiled."""
    from benchmarks.generated_densities import density_spec  # noqa: PLC0415
    from everwillow.models.nsbi import NsbiModel  # noqa: PLC0415
    from everwillow.models.nsbi.vectors import VectorLikelihood  # noqa: PLC0415

    case = CASES[name]
    spec = density_spec(case.events, case.samples, case.systematics)
    models = {
        "plain": NsbiModel.from_spec(spec, normalize=False),
        "normalised": NsbiModel.from_spec(spec),
    }
    peer = Peer(spec)
    calls: dict[str, Callable[[], Any]] = {
        "peer value": lambda: peer.value(peer.starts),
        "peer gradient": lambda: peer.gradient(peer.starts),
    }
    results, slow = {}, {}
    for kind, model in models.items():
        vector = VectorLikelihood.of(model)
        calls[f"{kind} value"] = ft.partial(vector.value, vector.starts)
        calls[f"{kind} gradient"] = ft.partial(vector.gradient, vector.starts)
        calls[f"{kind} fit"] = lambda model=model: fitted(model).nll
        results[kind] = fitted(model)
        slow[f"{kind} scan"] = ft.partial(scanned, model, results[kind])
    for call in (*calls.values(), *slow.values()):
        timed(call)
    times = interleave(calls, repeats=REPEATS, budget=BUDGET)
    times |= interleave(slow, repeats=REPEATS, budget=BUDGET)
    plain = results["plain"]
    vector = VectorLikelihood.of(models["plain"])
    best = np.array([float(plain.params[name]) for name in vector.names])
    rises = [float(f(best) - f(vector.starts)) for f in (vector.value, peer.value)]
    return {
        "times": times,
        "peer": peer_times(peer, case, scan_values(plain)),
        "difference": rises[0] - rises[1],
        "steps": {kind: int(found.num_steps) for kind, found in results.items()},
    }


def title(name: str) -> str:
    """Return the size of a case in words."""
    case = CASES[name]
    return f"{case.events} × {case.samples} × {case.systematics}"


def cold_rows(name: str, found: dict[str, Any], compiler: int) -> list[Row]:
    """Write the first calls and the memory down.

    Args:
        name: The case.
        found: What `cold` measured.
        compiler: The memory of a fit of few events, that of the compiler.
    """
    case, size = CASES[name], title(name)
    note = f"{found['steps']} evaluations, EDM {found['edm']:.0e}"
    rows = [
        Row(TOPIC, f"{size}, arrays to model", found["build"], "s"),
        Row(TOPIC, f"{size}, first fit", found["fit"], "s", target=case.seconds,
            note=note),
    ]  # fmt: skip
    rows += [
        Row(TOPIC, f"{size}, first {what}", found[what], "s")
        for what in ("value", "gradient", "scan")
    ]
    note = (
        f"input {case.input / 1e6:.0f} MB, peak {found['memory'] / 1e6:.0f} MB, "
        f"of which {compiler / 1e6:.0f} MB without events"
    )
    if case.memory is not None:
        over = (found["memory"] - compiler) / case.input
        what = f"{size}, peak memory of events over input"
        rows.append(Row(TOPIC, what, over, "x", target=case.memory, note=note))
    return rows


def warm_rows(name: str, found: dict[str, Any]) -> list[Row]:
    """Write the repeated calls and the comparison with the peer down."""
    size, times, peer = title(name), found["times"], found["peer"]
    rows = []
    for kind, text in (("plain", "plain formula"), ("normalised", "normalised")):
        for what in ("value", "gradient", "fit", "scan"):
            note = f"{found['steps'][kind]} evaluations" if what == "fit" else ""
            rows.append(
                milliseconds(TOPIC, f"{size}, {text}, {what}", times[f"{kind} {what}"],
                             note=note)
            )  # fmt: skip
    for what in ("value", "gradient"):
        rows.append(milliseconds(TOPIC, f"{size}, peer, {what}", times[f"peer {what}"]))
    for what in ("fit", "scan"):
        note = peer[f"{what} note"]
        rows.append(Row(TOPIC, f"{size}, peer, {what}", peer[what], "s", note=note))
        times[f"peer {what}"] = [peer[what]]
    targets = {"value": None, "gradient": GRADIENT, "fit": FIT, "scan": SCAN}
    for kind in ("plain", "normalised"):
        text = "plain formula" if kind == "plain" else "normalised"
        for what, target in targets.items():
            slow, fast = times[f"peer {what}"], times[f"{kind} {what}"]
            rows.append(
                Row(TOPIC, f"{size}, peer over {text}, {what}",
                    statistics.median(slow) / statistics.median(fast), "x",
                    min(slow) / min(fast),
                    target=target if kind == "plain" else None, at_most=False)
            )  # fmt: skip
    difference = abs(found["difference"])
    if difference > 1e-6:
        msg = f"{name}: the likelihoods differ by {difference}"
        raise RuntimeError(msg)
    return rows


def measure(names: tuple[str, ...] = tuple(CASES)) -> list[Row]:
    """Measure cases, the smallest first, each in processes of its own."""
    rows, compiler = [], 0
    for name in names:
        first, again = (
            run_fresh(["-m", "benchmarks.density_ratios", name, kind])
            for kind in ("cold", "warm")
        )
        compiler = compiler or first["memory"]
        rows += cold_rows(name, first, compiler) + warm_rows(name, again)
    return rows


def main() -> None:
    """Measure one case, or all of them."""
    words = sys.argv[1:]
    if words and words[0] == "--markdown":
        from benchmarks.run import section  # noqa: PLC0415

        print(section(TOPIC, measure(tuple(words[1:]) or tuple(CASES))))
    elif words:
        print(json.dumps({"cold": cold, "warm": warm}[words[1]](words[0])))
    else:
        emit(measure())


if __name__ == "__main__":
    main()
