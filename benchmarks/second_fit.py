"""What an eager call of `fit` costs once it is compiled."""

import statistics

import jax

import everwillow as ew
from benchmarks.problems import scalars, two_measurements
from benchmarks.timing import Row, emit, interleave, milliseconds, ratio, seconds


TOPIC = "second fit"
COUNT = 200


def anew() -> list[Row]:
    """Compare a second call with one that has to trace and compile."""
    nll, state, observation = two_measurements()
    first = []
    for _ in range(3):
        jax.clear_caches()
        first.append(seconds(lambda: ew.fit(nll, state, observation).nll))
    second = interleave(
        {"fit": lambda: ew.fit(nll, state, observation).nll}, repeats=200
    )["fit"]
    return [
        milliseconds(TOPIC, "combination, traced and compiled anew", first),
        milliseconds(TOPIC, "combination, second eager call", second),
        Row(TOPIC, "ratio", ratio(first, second), "x", target=200, at_most=False),
    ]


def overhead() -> list[Row]:
    """Compare an eager call with the same call inside `jax.jit`."""
    nll, state, counts = scalars(COUNT)
    inside = jax.jit(lambda data: ew.fit(nll, state, data, throw=False).params)
    calls = {
        "eager": lambda: ew.fit(nll, state, counts).nll,
        "jit": lambda: inside(counts),
    }
    for call in calls.values():
        call()
    times = interleave(calls, repeats=100)
    extra = 1e3 * (statistics.median(times["eager"]) - statistics.median(times["jit"]))
    fair = 1e3 * (min(times["eager"]) - min(times["jit"]))
    return [
        milliseconds(TOPIC, f"{COUNT} scalar parameters, eager", times["eager"]),
        milliseconds(TOPIC, f"{COUNT} scalar parameters, in jit", times["jit"]),
        Row(TOPIC, "overhead of the eager call", extra, "ms", fair, target=1.0),
    ]


def measure() -> list[Row]:
    """Measure both."""
    return [*overhead(), *anew()]


if __name__ == "__main__":
    emit(measure())
