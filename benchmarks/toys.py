"""Test statistics of pseudo-experiments: toys per second, ours and pyhf's."""

import contextlib
import io

import jax
import numpy as np
import pyhf

from benchmarks.timing import Row, emit, interleave, ratio, seconds
from benchmarks.uncorrelated_background import BACK_ENDS, ours, theirs
from everwillow.hypotest import QTilde, ToyGenerator


TOPIC = "toys"
TOYS = 10_000
# Of pyhf, which takes a few milliseconds for each: two fits.
PEER_TOYS = 100
WARM_TARGET, COLD_TARGET = 500.0, 15.0


def our_toys(bins: int):
    """Return a function of a seed that makes toys of the tested value."""
    model = ours(bins)
    generator = ToyGenerator(QTilde(), ntoys=TOYS)

    def run(seed: int):
        key = jax.random.key(seed)
        return generator.generate(model, None, None, "mu", 1.0, key=key)

    return run


def peer_toys(bins: int, backend: str, optimizer: str):
    """Return a call that makes toys in pyhf: q̃ of data drawn at the tested value."""

    def run():
        pyhf.set_backend(backend, optimizer, precision="64b")
        model, data = theirs(bins)
        init, bounds = model.config.suggested_init(), model.config.suggested_bounds()
        fixed = model.config.suggested_fixed()
        at = pyhf.infer.mle.fixed_poi_fit(1.0, data, model, init, bounds, fixed)
        sample = model.make_pdf(at).sample((PEER_TOYS,))
        return [
            pyhf.infer.test_statistics.qmu_tilde(1.0, toy, model, init, bounds, fixed)
            for toy in sample
        ]

    return run


def measure() -> list[Row]:
    """Time toys of both models."""
    rows = []
    for bins in (2, 10):
        run = our_toys(bins)
        cold = seconds(lambda run=run: run(0).q_null)
        seeds = iter(range(1, 100))
        calls = {"everwillow": lambda run=run, s=seeds: run(next(s)).q_null}
        peers = {}
        for backend, optimizer in BACK_ENDS:
            name = f"pyhf {backend} {optimizer}"
            calls[name] = peers[name] = peer_toys(bins, backend, optimizer)
        with contextlib.redirect_stdout(io.StringIO()):
            for call in peers.values():
                call()  # compiles, where the back-end does
            times = interleave(calls, repeats=5, budget=15.0)
        good = run(0)
        best = min(peers, key=lambda name: min(times[name]))
        per_second = {
            name: (TOYS if name == "everwillow" else PEER_TOYS) / np.median(values)
            for name, values in times.items()
        }
        rows += [
            Row(TOPIC, f"{bins} bins, {name}", rate, "toys/s")
            for name, rate in per_second.items()
        ]
        peer_time = [t / PEER_TOYS for t in times[best]]
        our_time = [t / TOYS for t in times["everwillow"]]
        rows += [
            Row(
                TOPIC,
                f"{bins} bins, everwillow over {best}",
                ratio(peer_time, our_time),
                "x",
                min(peer_time) / min(our_time),
                target=WARM_TARGET,
                at_most=False,
                note=f"{good.failures['null']} of {TOYS} failed",
            ),
            Row(
                TOPIC,
                f"{bins} bins, {TOYS} toys with all compilation, over {best}",
                float(np.median(peer_time)) * TOYS / cold,
                "x",
                target=COLD_TARGET,
                at_most=False,
                note=f"{cold:.2f} s",
            ),
        ]
    return rows


if __name__ == "__main__":
    emit(measure())
