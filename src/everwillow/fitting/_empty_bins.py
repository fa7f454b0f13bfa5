"""Name the bins that expect nothing or less, and what pushes them there.

Poisson counts have a likelihood only where something is expected, or where nothing is
expected and nothing was counted. Who reads that a fit failed, or ended at that edge,
wants to know in which bin.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np

from everwillow._captures import up_to_date
from everwillow.engine.layout import Layout, ravel_state
from everwillow.model import AbstractModel
from everwillow.statelib import State


# So many bins, and parameters of each, are named.
MOST_BINS, MOST_PARAMETERS = 4, 3
# An empty bin that expects less than this is one at the edge.
NOTHING = 1e-6


class _Bin(NamedTuple):
    """A bin that expects nothing or less.

    Attributes:
        place: The leaf of the data that it is in, and where in that.
        label: Its name.
        expected: What is expected there.
        observed: What was counted.
    """

    place: tuple[int, int]
    label: str
    expected: float
    observed: float


def remark(model: Any, params: State, observation: Any, start: State) -> str:
    """Return a sentence for each bin that expects nothing or less; "" if there is none.

    Args:
        model: The objective of a fit; what is no Model has no expected counts.
        params: Where the fit ended.
        observation: Its data.
        start: Where it started. Parameters are named by what their moves took away from
            the bin; at the start itself, by what their values take away.
    """
    if not isinstance(model, AbstractModel):
        return ""
    with up_to_date(model):
        return _remark(model, params, observation, start)


def _remark(model: AbstractModel, params: State, observation: Any, start: State) -> str:
    layout, here, others = ravel_state(params)
    _, before, _ = ravel_state(start)

    def expected(vector):
        return jtu.tree_leaves(model.expected(layout.state(vector, others).to_pytree()))

    # Two small programs: operation by operation compiling takes many times longer.
    @jax.jit
    def slope_of(vector, leaf, bin_):
        rates, pull = jax.vjp(expected, vector)
        places = [
            jnp.arange(rate.size, dtype=int).reshape(rate.shape) for rate in rates
        ]
        seeds = [
            jnp.where((i == leaf) & (place == bin_), 1, 0).astype(rate.dtype)
            for i, (rate, place) in enumerate(zip(rates, places, strict=True))
        ]
        return pull(seeds)[0]

    try:
        rates = jax.jit(expected)(jnp.asarray(here))
    except Exception:  # a function of the user, without which there is less to say
        return ""
    texts, more = [], 0
    for found in _bins(model, rates, observation["main"]):
        slope = np.asarray(slope_of(here, *found.place))
        if found.expected == found.observed == 0 and not np.any(slope):
            continue  # it has no templates
        if len(texts) == MOST_BINS:
            more += 1
            continue
        moved = here - before if np.any(here != before) else here
        texts.append(_sentence(found, _pushing(layout, slope * moved)))
    return " ".join([*texts, f"So do {more} more bins."] if more else texts)


def _bins(model: AbstractModel, rates: list[Any], main: Any) -> list[_Bin]:
    """Return the bins of counts that expect nothing or less."""
    leaves = jtu.tree_flatten_with_path(main)[0]
    if len(leaves) != len(rates):
        return []
    out = []
    for i, (path, leaf) in enumerate(leaves):
        rate, count = np.asarray(rates[i]), np.asarray(leaf)
        counts = count.dtype.kind in "fiu" and not np.any(count < 0)
        if rate.shape != count.shape or not counts:
            continue
        wrong = (rate < 0) | ((rate == 0) & (count > 0))
        wrong |= (rate <= NOTHING) & (count == 0)
        for j in np.flatnonzero(wrong):
            label = _label(model.bin_labels, path, int(j))
            expected, observed = float(rate.flat[j]), float(count.flat[j])
            out.append(_Bin((i, int(j)), label, expected, observed))
    return out


def _pushing(layout: Layout, change: np.ndarray) -> list[str]:
    """Return the parameters that took most away, the most important one first."""
    order = np.argsort(change)[:MOST_PARAMETERS]
    least = 0.1 * np.min(change, initial=0)
    return [layout.labels[i] for i in order if change[i] < 0 and change[i] <= least]


def _sentence(found: _Bin, pushing: list[str]) -> str:
    at_edge = 0 <= found.expected <= NOTHING
    rate = "nothing" if at_edge else f"{found.expected:.3g}"
    verb = "was" if found.observed == 1 else "were"
    count = "nothing was" if found.observed == 0 else f"{found.observed:g} {verb}"
    towards = f"; {', '.join(pushing)} took it there" if pushing else ""
    return f"{found.label} expects {rate} where {count} observed{towards}."


def _label(labels: Any, path: tuple[Any, ...], place: int) -> str:
    """Return the name of a bin, by the model's labels as far as they go."""
    for step in path:
        key = getattr(step, "key", getattr(step, "idx", getattr(step, "name", None)))
        if not isinstance(labels, Mapping) or key not in labels:
            return f'observation["main"]{jtu.keystr(path)}[{place}]'
        labels = labels[key]
    return f'observation["main"][{place}]' if labels is None else labels[place]


__all__ = ["remark"]
