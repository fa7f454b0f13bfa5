"""Fits of published likelihoods with errors, and pyhf's without."""

import os
import sys


# LAPACK's threads wait for each other in loops, and on a machine of few cores keep
# those of XLA waiting: every one of the peers is then up to forty times slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import numpy as np
import pyhf

import everwillow as ew
from benchmarks.timing import Row, emit, interleave, milliseconds, ratio, seconds
from benchmarks.workspaces import PUBLISHED, published
from everwillow.models.histfactory import from_pyhf


TOPIC = "published"
# What a user asks for on pyhf's command line, and what we do by default.
CODES = {"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}}
# Cases on which pyhf takes longer than this have a higher target.
LONG = 100.0
TIMES, TIMES_OF_LONG = 10.0, 150.0
EAGER = 1.0
# Seconds that each is called in its turn; the fastest take a tenth of a millisecond.
BLOCK = 0.02
BACK_ENDS = ("numpy minuit", "jax scipy")
# Minuit takes seconds for others, or fails.
FOR_MINUIT = PUBLISHED[:3]


class Ours:
    """The same fit as a compiled call, and as a user calls it."""

    def __init__(self, workspace):
        self.model = from_pyhf(workspace)

        @jax.jit
        def program(observation):
            found = ew.fit(self.model, observation=observation, throw=False)
            return found.nll, found.covariance

        self.program = program

    def compiled(self):
        return self.program(self.model.observation)

    def eager(self):
        return ew.fit(self.model).covariance


def theirs(workspace, backend: str, optimizer: str):
    """Return a call of pyhf's fit, without errors; jitted where it can."""
    pyhf.set_backend(backend, optimizer, precision="64b")
    source = pyhf.Workspace(workspace)
    model = source.model(modifier_settings=CODES)
    data = source.data(model)

    def fit():
        values, least = pyhf.infer.mle.fit(data, model, return_fitted_val=True)
        return np.asarray(values), float(least)

    return fit


def compare(name: str) -> list[Row]:
    """Time one case."""
    workspace = published(name)
    ours = Ours(workspace)
    first = {
        "eager": seconds(ours.eager),
        "compiled": seconds(ours.compiled),
    }
    calls = {"compiled": ours.compiled, "eager": ours.eager}
    found = ew.fit(ours.model)
    times, least = {}, {}
    # The back end of pyhf is global, and changing it throws its programs away.
    for peer in BACK_ENDS if name in FOR_MINUIT else BACK_ENDS[-1:]:
        call = theirs(workspace, *peer.split())
        first[peer] = seconds(lambda: least.update({peer: call()[1]}))  # noqa: B023
        times |= interleave({**calls, peer: call}, repeats=15, budget=3.0, block=BLOCK)
    rows = []
    for call, label in (("compiled", "compiled call"), ("eager", "eager call")):
        note = f"first {first[call]:.2f} s; {int(found.num_steps)} steps"
        rows.append(milliseconds(TOPIC, f"{name}, {label}", times[call], note=note))
    added = 1e3 * (np.median(times["eager"]) - np.median(times["compiled"]))
    best = 1e3 * (min(times["eager"]) - min(times["compiled"]))
    rows.append(
        Row(TOPIC, f"{name}, eager less compiled", added, "ms", best, target=EAGER)
    )
    for peer, value in least.items():
        higher = 2 * float(found.nll) - value
        note = f"first {first[peer]:.2f} s; our minimum of -2 ln L {higher:+.0e}"
        rows.append(milliseconds(TOPIC, f"{name}, pyhf {peer}", times[peer], note=note))
    slow = 1e3 * float(np.median(times["jax scipy"]))
    rows.append(
        Row(
            TOPIC,
            f"{name}, pyhf jax scipy over compiled",
            ratio(times["jax scipy"], times["compiled"]),
            "x",
            min(times["jax scipy"]) / min(times["compiled"]),
            target=TIMES_OF_LONG if slow > LONG else TIMES,
            at_most=False,
        )
    )
    return rows


def measure(names=PUBLISHED) -> list[Row]:
    """Compare on all cases."""
    return [row for name in names for row in compare(name)]


if __name__ == "__main__":
    emit(measure(tuple(sys.argv[1:]) or PUBLISHED))
