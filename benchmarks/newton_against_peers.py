"""Template fits of 3 to 1000 parameters: ours, optimistix BFGS and iminuit.

All minimise the same function from the same point, with derivatives by JAX. Only the
minimisation is timed, after everything was compiled; iminuit gets jitted functions of
a flat array. The goal is an EDM of 1e-6; what each of them reached is found afterwards
with the exact Hessian.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from iminuit import Minuit
from jax.flatten_util import ravel_pytree

import everwillow as ew
from benchmarks.problems import StructuredTemplates, templates
from benchmarks.timing import Row, emit, interleave, milliseconds, ratio, seconds


TOPIC = "peers"
SIZES = (3, 30, 300, 1000)
EDM_GOAL = 1e-6
ERRORDEF = 0.5
# Minuit stops at an EDM of 0.002 * tol * errordef.
MINUIT_TOL = EDM_GOAL / (0.002 * ERRORDEF)
# With strategy 1 Minuit needs half a million evaluations for a Hessian of this size.
LARGEST_FOR_STRATEGY_1 = 300
# BFGS stops by the size of its steps: the loosest of these that meets the goal counts.
BFGS_TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10)
# At 300 parameters.
TARGETS = {
    ("iminuit 1", "everwillow"): 100.0,
    ("iminuit 0", "everwillow"): 4.0,
    ("iminuit 0", "everwillow, hook"): 15.0,
}
# What runs from Python is compared with an eager fit, what is compiled with a compiled
# one.
PAIRS = (
    ("iminuit 0", "everwillow"),
    ("iminuit 0", "everwillow, hook"),
    ("iminuit 1", "everwillow"),
    ("iminuit 1", "everwillow, hook"),
    ("optimistix BFGS", "everwillow, jit"),
)


def exact_edm(objective, params, counts):
    """Return ``½ gᵀ H⁻¹ g`` at a point, with automatic derivatives."""
    x, unravel = ravel_pytree(params)

    def flat(vector):
        return objective(unravel(vector), counts)

    gradient = jax.grad(flat)(x)
    return 0.5 * gradient @ jnp.linalg.solve(jax.hessian(flat)(x), gradient)


class Peer:
    """Something that minimises: a call, and what it says after one."""

    def __init__(self, call, report):
        self.call = call
        self.report = report


def our_fit(objective, state, counts) -> Peer:
    """Fit eagerly, as a user would."""

    def report():
        result = ew.fit(objective, state, counts)
        return result.params.to_pytree(), int(result.num_steps), 0

    return Peer(lambda: ew.fit(objective, state, counts).nll, report)


def our_fit_in_jit(objective, state, counts) -> Peer:
    """Fit inside `jax.jit`, as BFGS is run."""

    @jax.jit
    def program(objective, counts):
        result = ew.fit(objective, state, counts, throw=False)
        return result.params.to_pytree(), result.num_steps

    def report():
        values, steps = program(objective, counts)
        return values, int(steps), 0

    return Peer(lambda: program(objective, counts), report)


def bfgs(objective, state, counts) -> Peer:
    """Run optimistix BFGS, compiled, at the loosest tolerance that meets the goal."""
    start = jax.tree.map(jnp.asarray, state.to_pytree())
    edm = jax.jit(lambda params: exact_edm(objective, params, counts))

    for tolerance in BFGS_TOLERANCES:

        @jax.jit
        def program(start, counts, tolerance=tolerance):
            return optx.minimise(
                objective,
                optx.BFGS(rtol=tolerance, atol=tolerance),
                start,
                counts,
                max_steps=10_000,
                throw=False,
            )

        if edm(program(start, counts).value) <= EDM_GOAL:
            break

    def report():
        solution = program(start, counts)
        return solution.value, int(solution.stats["num_steps"]), 0

    return Peer(lambda: program(start, counts).value, report)


def minuit(objective, state, counts, *, strategy: int) -> Peer:
    """Run MIGRAD on compiled functions of a flat array."""
    start, unravel = ravel_pytree(jax.tree.map(jnp.asarray, state.to_pytree()))
    value = jax.jit(lambda x: objective(unravel(x), counts))
    gradient = jax.jit(jax.grad(lambda x: objective(unravel(x), counts)))
    seconds(lambda: (value(start), gradient(start)))

    def migrad():
        fit = Minuit(
            lambda x: float(value(x)),
            np.asarray(start),
            grad=lambda x: np.asarray(gradient(x)),
        )
        fit.errordef = ERRORDEF
        fit.strategy = strategy
        fit.tol = MINUIT_TOL
        return fit.migrad(ncall=10_000_000)

    last: list[Minuit] = []

    def call():
        last[:] = [migrad()]

    def report():
        fit = last[0] if last else migrad()
        return unravel(jnp.asarray(fit.values)), fit.nfcn, fit.ngrad

    return Peer(call, report)


def contestants(parameters: int):
    """Set up everyone for a problem size."""
    objective, state, counts = templates(parameters)
    peers = {
        "everwillow": our_fit(objective, state, counts),
        "everwillow, hook": our_fit(StructuredTemplates(objective), state, counts),
        "everwillow, jit": our_fit_in_jit(objective, state, counts),
        "optimistix BFGS": bfgs(objective, state, counts),
        "iminuit 0": minuit(objective, state, counts, strategy=0),
    }
    if parameters <= LARGEST_FOR_STRATEGY_1:
        peers["iminuit 1"] = minuit(objective, state, counts, strategy=1)
    return objective, counts, peers


def compare(parameters: int) -> list[Row]:
    """Time everyone at one size, and see where they ended."""
    objective, counts, peers = contestants(parameters)
    ours = [name for name in peers if name.startswith("everwillow")]
    first = {name: seconds(peers[name].call) for name in ours}
    repeats = 50 if parameters < 100 else 7
    times = interleave(
        {name: peer.call for name, peer in peers.items()}, repeats=repeats
    )
    edm = jax.jit(lambda params: exact_edm(objective, params, counts))
    rows = []
    title = f"{parameters} parameters"
    for name, peer in peers.items():
        values, calls, gradients = peer.report()
        if name.startswith("iminuit"):
            effort = f"{calls} values, {gradients} gradients"
        elif name.startswith("everwillow"):
            effort = f"{calls} evaluations; first call {first[name]:.2f} s"
        else:
            effort = f"{calls} steps"
        note = f"{effort}; EDM {float(edm(values)):.0e}"
        rows.append(milliseconds(TOPIC, f"{title}, {name}", times[name], note=note))
    for name, ours in PAIRS:
        if name in peers:
            target = 1.0 if parameters == SIZES[0] else None
            if parameters == 300:
                target = TARGETS.get((name, ours))
            best = min(times[name]) / min(times[ours])
            rows.append(
                Row(
                    TOPIC,
                    f"{title}, {name} over {ours}",
                    ratio(times[name], times[ours]),
                    "x",
                    best,
                    target=target,
                    at_most=False,
                )
            )
    return rows


def measure(sizes=SIZES) -> list[Row]:
    """Compare at all sizes."""
    return [row for size in sizes for row in compare(size)]


if __name__ == "__main__":
    emit(measure(tuple(map(int, sys.argv[1:])) or SIZES))
