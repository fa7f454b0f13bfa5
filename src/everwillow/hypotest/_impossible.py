"""Data that are impossible at a tested value: events where a model expects none."""

from typing import Any

import jax
import numpy as np

from everwillow._captures import up_to_date
from everwillow.fitting import FitResult
from everwillow.model import AbstractModel


# So many bins are named.
MOST = 5


def impossible_bins(nll_fn: Any, observation: Any, fit: FitResult) -> str:
    """Return a sentence that names bins with events that nothing is expected in.

    Args:
        nll_fn: Empty is returned unless it is a Model whose main data are counts.
        observation: The data; those of the model if None.
        fit: Where the fit ended.
    """
    if not isinstance(nll_fn, AbstractModel):
        return ""
    given = nll_fn.observation if observation is None else observation
    with up_to_date(nll_fn):
        leaves, structure = jax.tree.flatten(nll_fn.expected(fit.params.to_pytree()))
    counts, same = jax.tree.flatten(given["main"])
    if structure != same or [np.shape(a) for a in leaves] != list(
        map(np.shape, counts)
    ):
        return ""
    expected = np.concatenate([np.ravel(np.asarray(a)) for a in leaves])
    observed = np.concatenate([np.ravel(np.asarray(a)) for a in counts])
    (here,) = np.nonzero((expected <= 0) & (observed > 0))
    if not here.size:
        return ""
    labels = _labels(nll_fn, expected.size)
    shown = ", ".join(f"{labels[i]} ({observed[i]:g} observed)" for i in here[:MOST])
    more = f" and {here.size - MOST} more" if here.size > MOST else ""
    return f" Nothing is expected there in bin {shown}{more}."


def _labels(model: Any, size: int) -> list[str]:
    channels = getattr(model, "channels", None)
    if isinstance(channels, tuple):
        labels = [f"{name}[{i}]" for name, count in channels for i in range(count)]
        if len(labels) == size:
            return labels
    return [str(i) for i in range(size)]
