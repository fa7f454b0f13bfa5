"""The arrays that the templates of a fit are packed into.

Every bin has equally many *slots*, one for each process that contributes there and
empty ones to fill up; a slot of a bin is a *row* of the responses. Nothing here knows a
name.
"""

import abc
from collections.abc import Callable
from typing import Any, TypeAlias, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from everwillow.likelihood.templates.response import bend
from everwillow.likelihood.templates.spec import Responses, Templates


# Up to this size the places above a diagonal are listed, which takes 1 MB.
_LISTED = 512

LocalHessian: TypeAlias = Callable[[Array, Array | None], Any]
"""From the derivatives of the responses of some bins, shape ``(k, bins, slots)``, and
the numbers of these bins (None for all) to matrices. These are by the k systematics,
then by as many further parameters as the caller has.
"""


class AbstractResponses(eqx.Module):
    """What the systematics do to the rows, linear in numbers made of the parameters.

    A row answers with ``average @ theta + half @ s(theta[curved])``, where s is the
    `everwillow.likelihood.templates.response.bend`.

    Attributes:
        curved_bytes: Which systematics are asymmetric.
    """

    curved_bytes: eqx.AbstractVar[bytes]

    @abc.abstractmethod
    def apply(self, linear: Array, curved: Array) -> Float[Array, "bins slots"]:
        """Return ``average @ linear + half @ curved``."""

    @abc.abstractmethod
    def pull(self, rows: Float[Array, "bins slots"]) -> tuple[Array, Array]:
        """Return the rows summed with ``average`` and with ``half`` as weights."""

    @abc.abstractmethod
    def squared(self, theta: Array, rows: Array) -> Float[Array, " k"]:
        """Return the squared derivatives of the responses, summed over rows.

        Roughly: it only steers.
        """

    @abc.abstractmethod
    def over_blocks(self, theta: Array, local: LocalHessian, extra: int) -> Any:
        """Return matrices that are sums over bins.

        Args:
            theta: The systematics.
            local: Makes the share of some bins.
            extra: Number of further parameters.

        Returns:
            What `local` returns, by all systematics and the further parameters.
        """

    @property
    def curved(self) -> np.ndarray:
        """Which systematics are asymmetric."""
        return np.frombuffer(self.curved_bytes, np.int32)

    def __call__(self, theta: Float[Array, " k"]) -> Float[Array, "bins slots"]:
        """Return the response of every row."""
        return self.apply(theta, bend(theta[self.curved])[0])

    def tangent(self, theta: Array, move: Array) -> Float[Array, "bins slots"]:
        """Return how the responses move with the parameters."""
        return self.apply(move, bend(theta[self.curved])[1] * move[self.curved])

    def cotangent(self, theta: Array, rows: Array) -> Float[Array, " k"]:
        """Return the transposed of `tangent`."""
        straight, bent = self.pull(rows)
        return straight.at[self.curved].add(bend(theta[self.curved])[1] * bent)

    def second(self, theta: Array, rows: Array) -> Float[Array, " k"]:
        """Return the second derivatives of the responses, summed over rows.

        No two systematics have a common one.
        """
        if not self.curved.size:
            return jnp.zeros_like(theta)
        bent = bend(theta[self.curved])[2] * self.pull(rows)[1]
        return jnp.zeros_like(theta).at[self.curved].add(bent)


@final
class DenseResponses(AbstractResponses):
    """All responses written out.

    Systematics come first, as products of two such matrices are fastest along their
    last axis.

    Attributes:
        average: Mean of the responses up and down.
        half: Half their difference, of the asymmetric systematics.
    """

    average: Float[Array, "k bins slots"]
    half: Float[Array, "curved bins slots"]
    curved_bytes: bytes = eqx.field(static=True)

    def apply(self, linear: Array, curved: Array) -> Float[Array, "bins slots"]:
        """Return ``average @ linear + half @ curved``."""
        found = jnp.tensordot(linear, self.average, 1)
        if not self.curved.size:
            return found
        return found + jnp.tensordot(curved, self.half, 1)

    def pull(self, rows: Float[Array, "bins slots"]) -> tuple[Array, Array]:
        """Return the rows summed with ``average`` and with ``half`` as weights."""
        return jnp.tensordot(self.average, rows, 2), jnp.tensordot(self.half, rows, 2)

    def squared(self, theta: Array, rows: Array) -> Float[Array, " k"]:
        """Return the squared derivatives of the responses, summed over rows."""
        return jnp.tensordot(self.columns(theta) ** 2, rows, 2)

    def over_blocks(self, theta: Array, local: LocalHessian, extra: int) -> Any:
        """Return matrices that are sums over bins, all made at once."""
        del extra
        return local(self.columns(theta), None)

    def columns(self, theta: Float[Array, " k"]) -> Float[Array, "k bins slots"]:
        """Return the derivative of every response by every systematic."""
        if not self.curved.size:
            return jnp.asarray(self.average)
        slope = bend(theta[self.curved])[1][:, None, None]
        return jnp.asarray(self.average).at[self.curved].add(self.half * slope)


def scatter_blocks(
    blocks: Any,
    local: Callable[[Any], Any],
    which: Int[Array, "blocks k"],
    shape: tuple[int, int],
    start: Any = None,
) -> Any:
    """Add matrices of blocks of bins to the rows and columns that are theirs.

    Args:
        blocks: A tree of arrays with the blocks along the first axis.
        local: Makes the matrices of a single one, by its systematics and the further
            parameters.
        which: The systematics of each; out of range where filled up.
        shape: Number of systematics and of further parameters.
        start: What to add to; None for zero.

    Returns:
        The upper triangles, see `mirrored`.
    """
    size, extra = shape
    total = size + extra
    if start is None:
        first = jax.tree.map(lambda leaf: leaf[0], blocks)
        start = jax.tree.map(
            lambda found: jnp.zeros((total, total), found.dtype),
            jax.eval_shape(local, first),
        )

    def step(matrices, block):
        own, known = block
        places = jnp.where(known < size, known, total)
        places = jnp.concatenate([places, size + jnp.arange(extra, dtype=known.dtype)])

        def added(matrix, share):
            # Places ascend, so what is above the diagonal stays there.
            if above is None:
                share = jnp.triu(share)
                return matrix.at[places[:, None], places].add(share, mode="drop")
            row, column = places[above[0]], places[above[1]]
            return matrix.at[row, column].add(share[above], mode="drop")

        return jax.tree.map(added, matrices, local(own)), None

    above = None
    if which.shape[1] <= _LISTED:
        above = tuple(
            side.astype(np.int32) for side in np.triu_indices(which.shape[1] + extra)
        )
    return jax.lax.scan(step, start, (blocks, which))[0]


def mirrored(matrices: Any) -> Any:
    """Return symmetric matrices, given their upper triangles."""
    return jax.tree.map(lambda upper: upper + jnp.triu(upper, 1).T, matrices)


class TemplateArrays(eqx.Module):
    """The templates of some bins.

    Attributes:
        first: The number of the first of these bins among all.
        regular: Whether every bin has all processes, in their order.
        nominal: Nominal yields, 0 in empty slots.
        process: The process of each slot.
        baseline: What scales responses that are added to the yields: the rates at the
            nominal parameters; None where responses are exponents.
        responses: What systematics do.
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

        Empty slots count for some process, so they have to be 0, as `yields` has them.
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
        """Return what responses are multiplied by, to first order."""
        return yields if self.baseline is None else jnp.asarray(self.baseline)

    def deformed(self, theta: Float[Array, " k"]) -> Float[Array, "bins slots"]:
        """Return the templates that rates multiply."""
        nominal = jnp.asarray(self.nominal)
        return nominal * jnp.exp(self.responses(theta)) if self.log_normal else nominal

    def yields(
        self, rates: Float[Array, "bins slots"], theta: Float[Array, " k"]
    ) -> Float[Array, "bins slots"]:
        """Return what is expected in every slot, given the rates of the slots."""
        scaled = self.deformed(theta) * rates
        if self.baseline is None:
            return scaled
        return scaled + self.baseline * self.responses(theta)


class Rows:
    """Where the rows of `Templates` are among the slots of some bins.

    Attributes:
        slots: Number of slots of a bin.
        mine: Which rows these bins have.
        place: Their places among the slots, all bins flattened.
    """

    def __init__(self, templates: Templates, bins: slice) -> None:
        self.mine = (templates.bin >= bins.start) & (templates.bin < bins.stop)
        self.bins = bins
        own = templates.bin[self.mine] - bins.start
        counts = np.bincount(own, minlength=bins.stop - bins.start)
        self.slots = max(1, int(counts.max(initial=0)))
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self.place = own * self.slots + np.arange(own.size) - first[own]

    def complete(self, process: np.ndarray, processes: int) -> bool:
        """Return whether every bin has all processes, in their order."""
        whole = self.place.size == process.size
        return whole and np.array_equal(process[0], np.arange(processes))

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Return one number a row as ``(bins, slots)``, 0 in empty slots."""
        size = self.bins.stop - self.bins.start
        out = np.zeros(size * self.slots, values.dtype)
        out[self.place] = values[self.mine]
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
        templates: Of all bins.
        responses: Of all systematics.
        bins: Which bins.
        processes: Number of processes.
        baseline: Rates at the nominal parameters if responses are added, else None.
        pack: How to keep the responses: `pack_dense`, `pack_lists` of
            `everwillow.likelihood.templates.lists`, or one that chooses, see
            `everwillow.likelihood.templates.blocks`.
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
    place = np.full(rows.mine.size, -1)
    place[rows.mine] = rows.place
    systematic = np.repeat(
        np.arange(responses.start.size - 1), np.diff(responses.start)
    )
    where = place[responses.row]
    half = responses.half
    if half is None:
        half = np.zeros_like(responses.average)
    if np.all(rows.mine):
        return where, systematic, responses.average, half
    here = where >= 0
    return where[here], systematic[here], responses.average[here], half[here]


def asymmetric(responses: Responses) -> np.ndarray:
    """Return which systematics are asymmetric anywhere."""
    if responses.half is None:
        return np.zeros(0, np.int32)
    systematic = np.repeat(
        np.arange(responses.start.size - 1), np.diff(responses.start)
    )
    return np.unique(systematic[responses.half != 0]).astype(np.int32)


def pack_dense(responses: Responses, rows: Rows) -> DenseResponses:
    """Write the responses of some bins out."""
    place, systematic, average, half = entries(responses, rows)
    size = rows.bins.stop - rows.bins.start
    count = responses.start.size - 1
    matrix = np.zeros((count, size * rows.slots))
    matrix[systematic, place] = average
    curved = asymmetric(responses)
    column = np.full(count, -1)
    column[curved] = np.arange(curved.size)
    bent = np.zeros((curved.size, size * rows.slots))
    here = column[systematic] >= 0
    bent[column[systematic[here]], place[here]] = half[here]
    shape = (size, rows.slots)
    return DenseResponses(
        # On the device once, not at every call.
        average=jnp.asarray(matrix.reshape(count, *shape)),
        half=jnp.asarray(bent.reshape(curved.size, *shape)),
        curved_bytes=curved.tobytes(),
    )


__all__ = [
    "AbstractResponses",
    "DenseResponses",
    "LocalHessian",
    "Rows",
    "TemplateArrays",
    "asymmetric",
    "entries",
    "mirrored",
    "pack_dense",
    "pack_templates",
    "scatter_blocks",
]
