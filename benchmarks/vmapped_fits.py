"""Ten thousand three-parameter fits in one call, ours and those of a peer."""

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx

import everwillow as ew
from benchmarks.newton_against_peers import exact_edm
from benchmarks.problems import templates
from benchmarks.timing import Row, emit, interleave, milliseconds, ratio, seconds


TOPIC = "vmapped fits"
LANES = 10_000
# Of the step-size test of BFGS: its documented use is 1e-8, looser is faster.
TOLERANCES = (1e-4, 1e-6, 1e-8)


def toys():
    """Draw pseudo-data of the three-parameter template fit."""
    objective, state, _ = templates(3)
    rng = np.random.default_rng(11)
    pulls = rng.normal(size=(LANES, 2))
    varied = objective.background * np.exp(pulls @ np.asarray(objective.responses).T)
    counts = rng.poisson(1.3 * np.asarray(objective.signal) + np.asarray(varied))
    return objective, state, jnp.asarray(counts, float)


def measure() -> list[Row]:
    """Fit all pseudo-data with each solver, in turn."""
    objective, state, counts = toys()
    start = jax.tree.map(jnp.asarray, state.to_pytree())

    def ours(data):
        result = ew.fit(objective, state, data, throw=False)
        return result.params.to_pytree(), result.success, result.num_steps

    def peer(data, tolerance):
        solution = optx.minimise(
            objective,
            optx.BFGS(rtol=tolerance, atol=tolerance),
            start,
            data,
            max_steps=256,
            throw=False,
        )
        good = solution.result == optx.RESULTS.successful
        return solution.value, good, solution.stats["num_steps"]

    programs = {"everwillow": jax.jit(jax.vmap(ours))}
    for tolerance in TOLERANCES:
        program = jax.jit(jax.vmap(lambda data, t=tolerance: peer(data, t)))
        programs[f"BFGS {tolerance:.0e}"] = program
    calls = {name: lambda p=p: p(counts) for name, p in programs.items()}
    compiled = {name: seconds(call) for name, call in calls.items()}
    times = interleave(calls, repeats=7)
    rows = [milliseconds(TOPIC, f"{name}, {LANES} fits", times[name]) for name in calls]
    rows += [
        Row(TOPIC, f"{name}, trace, compile and run", compiled[name], "s")
        for name in calls
    ]
    edm = jax.jit(jax.vmap(lambda p, data: exact_edm(objective, p, data)))
    for name, call in calls.items():
        values, good, steps = call()
        distance = np.asarray(edm(values, counts))
        text = (
            f"EDM median {np.median(distance):.0e}, "
            f"99 % {np.quantile(distance, 0.99):.0e}, "
            f"largest {np.max(distance):.0e}; steps mean {np.mean(steps):.1f}, "
            f"most {np.max(steps)}"
        )
        rows.append(Row(TOPIC, f"{name}, not converged", int(np.sum(~good)), note=text))
    loosest = f"BFGS {TOLERANCES[0]:.0e}"
    for name in calls:
        if name != "everwillow":
            rows.append(
                Row(
                    TOPIC,
                    f"{name} over everwillow",
                    ratio(times[name], times["everwillow"]),
                    "x",
                    min(times[name]) / min(times["everwillow"]),
                    target=1.0,
                    at_most=False,
                    note="the loosest peer" if name == loosest else "",
                )
            )
    return rows


if __name__ == "__main__":
    emit(measure())
