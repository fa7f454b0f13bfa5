"""The arrays that the templates of a fit are packed into.

Every bin has equally many *slots*, one for each process that contributes there, padded
with empty ones; a slot of a bin is a *row* of the responses. Names of processes and
parameters do not appear here.
"""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from everwillow.likelihood.templates.responses import AbstractResponses
from everwillow.likelihood.templates.spec import Responses, Templates


class TemplateArrays(eqx.Module):
    """The templates of some bins.

    Attributes:
        first: The number of the first of these bins among all.
        regular: Whether every bin has all processes, in their order.
        nominal: Nominal yields, 0 in empty slots.
        process: The process of each slot.
        baseline: The rates at the nominal parameters, which scale responses that are
            added to the yields; None where responses are exponents.
        responses: The responses to systematics.
    """

    first: int = eqx.field(static=True)
    regular: bool = eqx.field(static=True)
    nominal: Float[Array | np.ndarray, "bins slots"]
    process: Int[Array | np.ndarray, "bins slots"]
    baseline: Float[Array | np.ndarray, "bins slots"] | None
    responses: AbstractResponses

    def gathered(self, rates: Float[Array, "processes bins *more"]) -> Array:
        """Return the rates of the slots."""
        size = self.nominal.shape[0]
        if self.regular:
            return jnp.swapaxes(rates[:, self.first : self.first + size], 0, 1)
        return rates[self.process, self.first + np.arange(size)[:, None]]

    def scattered(
        self, rows: Float[Array, "bins slots"], processes: int
    ) -> Float[Array, "processes bins"]:
        """Return rows by process, 0 for those that a bin does not have.

        Empty slots are assigned to some process, so they have to be 0, as in `yields`.
        """
        if self.regular:
            return rows.T
        bins = np.arange(self.nominal.shape[0])[:, None]
        return jnp.zeros((processes, bins.size)).at[self.process, bins].add(rows)

    @property
    def log_normal(self) -> bool:
        """Whether responses are exponents of the yields."""
        return self.baseline is None

    def strength(self, yields: Float[Array, "bins slots"]) -> Array:
        """Return the factors of responses in the yields, to first order."""
        return yields if self.baseline is None else jnp.asarray(self.baseline)

    def deformed(self, theta: Float[Array, " k"]) -> Float[Array, "bins slots"]:
        """Return the templates that rates multiply."""
        nominal = jnp.asarray(self.nominal)
        return nominal * jnp.exp(self.responses(theta)) if self.log_normal else nominal

    def yields(
        self, rates: Float[Array, "bins slots"], theta: Float[Array, " k"]
    ) -> Float[Array, "bins slots"]:
        """Return the expected yields of all slots, given their rates."""
        scaled = self.deformed(theta) * rates
        if self.baseline is None:
            return scaled
        return scaled + self.baseline * self.responses(theta)


class Rows:
    """Places of the rows of `Templates` among the slots of some bins.

    Attributes:
        slots: Number of slots of a bin.
        selected: Which rows of `Templates` are in these bins.
        place: The places of these rows among the slots, all bins flattened.
    """

    def __init__(self, templates: Templates, bins: slice) -> None:
        self.selected = (templates.bin >= bins.start) & (templates.bin < bins.stop)
        self.bins = bins
        bin_ = templates.bin[self.selected] - bins.start
        counts = np.bincount(bin_, minlength=bins.stop - bins.start)
        self.slots = max(1, int(counts.max(initial=0)))
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self.place = bin_ * self.slots + np.arange(bin_.size) - first[bin_]

    def complete(self, process: np.ndarray, processes: int) -> bool:
        """Return whether every bin has all processes, in their order."""
        all_present = self.place.size == process.size
        return all_present and np.array_equal(process[0], np.arange(processes))

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Return one number a row as ``(bins, slots)``, 0 in empty slots."""
        size = self.bins.stop - self.bins.start
        out = np.zeros(size * self.slots, values.dtype)
        out[self.place] = values[self.selected]
        return out.reshape(size, self.slots)


def pack_templates(
    templates: Templates,
    responses: Responses,
    bins: slice,
    *,
    processes: int,
    baseline: Float[np.ndarray, "processes bins"] | None,
    pack: Callable[[Responses, "Rows"], AbstractResponses],
) -> tuple[TemplateArrays, Rows]:
    """Put the templates of some bins into arrays.

    Args:
        templates: Templates of all bins.
        responses: Responses to all systematics.
        bins: The bins to pack.
        processes: Number of processes.
        baseline: Rates at the nominal parameters if responses are added, else None.
        pack: The function that stores the responses: `pack_dense`, `pack_lists` of
            `everwillow.likelihood.templates.lists`, or `pack_best` of
            `everwillow.likelihood.templates.blocks`, which chooses the form.
    """
    rows = Rows(templates, bins)
    process = rows.spread(templates.process.astype(np.int32))
    start = None
    if baseline is not None:
        start = baseline[process, np.arange(bins.start, bins.stop)[:, None]]
    return (
        TemplateArrays(
            bins.start,
            rows.complete(process, processes),
            rows.spread(templates.nominal),
            process,
            start,
            pack(responses, rows),
        ),
        rows,
    )


def entries(responses: Responses, rows: Rows) -> tuple[np.ndarray, ...]:
    """Return place, systematic, average and half of the responses of some bins."""
    place = np.full(rows.selected.size, -1)
    place[rows.selected] = rows.place
    systematic = responses.systematic
    where = place[responses.row]
    half = responses.half
    if half is None:
        half = np.zeros_like(responses.average)
    if np.all(rows.selected):
        return where, systematic, responses.average, half
    inside = where >= 0
    return where[inside], systematic[inside], responses.average[inside], half[inside]


def asymmetric(responses: Responses) -> np.ndarray:
    """Return which systematics are asymmetric anywhere."""
    if responses.half is None:
        return np.zeros(0, np.int32)
    return np.unique(responses.systematic[responses.half != 0]).astype(np.int32)
