r"""Sums over events, with their derivatives in the same pass.

With the density ratios :math:`R_{ci}` of component c at event i, changed by the
nuisance parameters :math:`\alpha`, two sums are needed: over the events with weights
:math:`w_i` of the data, and over those of the reference sample with weights
:math:`v_i`,

.. math::
    T(\phi, \alpha) = \sum_i w_i \ln D_i, \quad D_i = \sum_c \phi_c R_{ci},
    \qquad Z_c(\alpha) = \sum_i v_i R_{ci} .

Gradient and Hessian are accumulated chunk by chunk. The derivatives of
:math:`\ln D_i` are :math:`j = D'/D` and :math:`D''/D - j j^T`, so that
:math:`\sum_i w_i j j^T` is a positive stand-in for the Hessian of -T. JAX gets these
sums as the rules of its derivatives, and never differentiates the loop over chunks,
except for derivatives of third order and by other numbers than :math:`\phi` and
:math:`\alpha`.
"""

import functools as ft
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from everwillow._typing import Scalar
from everwillow.models.nsbi.likelihood.events import EventTable
from everwillow.models.nsbi.likelihood.responses import response


class Sums(NamedTuple):
    """A sum, or several, over all events, with as many derivatives as were asked for.

    Attributes:
        value: The sum.
        gradient: Its first derivatives; None if they were not asked for.
        hessian: Its second derivatives; None if they were not asked for.
        outer: Sum of the products of first derivatives of the logarithms, ``w j jᵀ``;
            None for `normalisations`.
    """

    value: Array
    gradient: Any = None
    hessian: Any = None
    outer: Any = None


class _Densities(NamedTuple):
    """The densities of a chunk, and their changes by parameters over the density.

    Attributes:
        values: Shape ``(C, n)``.
        rates: First derivatives, ``(C, s, n)``.
        bends: Second derivatives by the same parameter, ``(C, s, n)``.
        component: The component of each slot.
        parameter: The numbers of the parameters.
    """

    values: Array
    rates: Array
    bends: Array
    component: Array
    parameter: Array


def log_sum(
    table: EventTable,
    phi: Float[Array, " K"],
    alpha: Float[Array, " S"],
    weights: Float[Array, " N"],
) -> Scalar:
    """Return T; ``-inf`` where an event with a weight has no positive density."""
    return _first(_log_sums, 0, (phi, alpha), weights, table).value


def log_sums(
    table: EventTable,
    phi: Float[Array, " K"],
    alpha: Float[Array, " S"],
    weights: Float[Array, " N"],
) -> Sums:
    """Return T with its derivatives by ``(phi, alpha)``, K + S numbers."""
    return _log_sums(2, (phi, alpha), weights, table)


def normalisation(table: EventTable, alpha: Float[Array, " S"]) -> Float[Array, " K"]:
    """Return Z of each component."""
    return _first(_normalisations, 0, (alpha,), None, table).value


def normalisations(table: EventTable, alpha: Float[Array, " S"]) -> Sums:
    """Return Z with its derivatives by alpha, ``(K, S)`` and ``(K, S, S)``."""
    return _normalisations(2, (alpha,), None, table)


def densities(
    table: EventTable, phi: Float[Array, " K"], alpha: Float[Array, " S"]
) -> Float[Array, "M n"]:
    """Return D of each event, in chunks."""

    def of_chunk(chunk: Any) -> Array:
        parts = _densities(table, alpha, chunk)
        return _with_padding(phi)[parts.component] @ parts.values

    chunks = (table.region, table.ratios, table.changes)
    return jax.lax.map(jax.checkpoint(of_chunk), chunks)


def _with_padding(values: Array) -> Array:
    return jnp.append(values, jnp.zeros((), values.dtype))


def _densities(table: EventTable, alpha: Array, chunk: Any) -> _Densities:
    region, ratios, changes = chunk
    ratios, changes = ratios.astype(alpha.dtype), changes.astype(alpha.dtype)
    component, parameter = table.component[region], table.region_parameter[region]
    up, down = jnp.split(changes, 2)
    if not up.shape[0]:
        nothing = jnp.zeros((*ratios.shape[:1], 0, ratios.shape[1]), ratios.dtype)
        return _Densities(ratios, nothing, nothing, component, parameter)
    own = _with_padding(alpha)[table.effect_parameter[region]]
    parts = response(table.interpolation, own, up, down)
    effect_of = table.effect_of[region]
    value, rate, bend = (
        jnp.pad(part, ((0, 1), (0, 0)), constant_values=fill)[effect_of]
        for part, fill in zip(parts, (1, 0, 0), strict=True)
    )
    return _Densities(ratios * jnp.prod(value, 1), rate, bend, component, parameter)


def _log_sums(order: int, at: Any, weights: Any, table: EventTable) -> Sums:
    phi, alpha = at
    weights = table.chunked(jnp.asarray(weights, phi.dtype))

    def of_chunk(chunk: Any) -> Sums:
        *events, w = chunk
        parts = _densities(table, alpha, events)
        own = _with_padding(phi)[parts.component]
        total = own @ parts.values
        possible = total > 0
        safe = jnp.where(possible, total, 1)
        enters = w != 0
        logs = jnp.where(possible, jnp.log(safe), -jnp.inf)
        value = jnp.sum(jnp.where(enters, w * jnp.where(enters, logs, 0), 0))
        value = jnp.where(jnp.isnan(value) | (value == jnp.inf), -jnp.inf, value)
        if order == 0:
            return Sums(value)
        over = parts.values / safe[None]
        shares = own[:, None] * over
        slopes = jnp.concatenate([over, jnp.einsum("cn,csn->sn", shares, parts.rates)])
        if order == 1:
            return Sums(value, slopes @ w)
        outer = (slopes * w[None]) @ slopes.T
        bend = _bend(parts, over * w[None], shares * w[None])
        return Sums(value, slopes @ w, bend - outer, outer)

    chunks = (table.region, table.ratios, table.changes, weights)
    sums = _by_region(
        table, of_chunk, chunks, skip=lambda chunk: jnp.all(chunk[-1] == 0)
    )
    value = jnp.sum(sums.value)
    if order == 0:
        return Sums(value)
    slots, parameters = _one_hot(table, phi, alpha)
    place = jnp.concatenate(
        [
            jnp.pad(slots, ((0, 0), (0, 0), (0, alpha.size))),
            jnp.pad(parameters, ((0, 0), (0, 0), (phi.size, 0))),
        ],
        axis=1,
    )
    gradient = jnp.einsum("rl,rlp->p", sums.gradient, place)
    if order == 1:
        return Sums(value, gradient)
    matrices = (
        jnp.einsum("rlm,rlp,rmq->pq", matrix, place, place)
        for matrix in (sums.hessian, sums.outer)
    )
    return Sums(value, gradient, *matrices)


def _bend(parts: _Densities, over: Array, shares: Array) -> Array:
    """Return the sum of ``w D''/D``, by the slots and parameters of a chunk."""
    slots, own, size = parts.rates.shape
    mixed = jnp.einsum("cn,csn->cs", over, parts.rates)
    rates = jnp.swapaxes(parts.rates, 0, 1).reshape(own, slots * size)
    square = (rates * shares.reshape(1, -1)) @ rates.T
    diagonal = jnp.einsum("cn,csn->s", shares, parts.bends)
    square = jnp.where(jnp.eye(own, dtype=bool), diagonal[None], square)
    nothing = jnp.zeros((slots, slots), square.dtype)
    return jnp.block([[nothing, mixed], [mixed.T, square]])


def _normalisations(order: int, at: Any, weights: None, table: EventTable) -> Sums:
    del weights
    (alpha,) = at

    def of_chunk(chunk: Any) -> Sums:
        *events, v = chunk
        parts = _densities(table, alpha, events)
        weighted = parts.values * v.astype(alpha.dtype)[None]
        value = jnp.sum(weighted, 1)
        if order == 0:
            return Sums(value)
        gradient = jnp.einsum("cn,csn->cs", weighted, parts.rates)
        if order == 1:
            return Sums(value, gradient)
        square = (parts.rates * weighted[:, None]) @ jnp.swapaxes(parts.rates, 1, 2)
        diagonal = jnp.einsum("cn,csn->cs", weighted, parts.bends)
        eye = jnp.eye(parts.parameter.size, dtype=bool)[None]
        return Sums(value, gradient, jnp.where(eye, diagonal[:, None], square))

    first = table.first_reference
    chunks = (table.region[first:], table.ratios[first:], table.changes[first:])
    sums = _by_region(table, of_chunk, (*chunks, table.reference))
    slots, parameters = _one_hot(table, jnp.zeros(table.components), alpha)
    value = jnp.einsum("rc,rck->k", sums.value, slots)
    if order == 0:
        return Sums(value)
    gradient = jnp.einsum("rcs,rck,rsp->kp", sums.gradient, slots, parameters)
    if order == 1:
        return Sums(value, gradient)
    hessian = jnp.einsum(
        "rcst,rck,rsp,rtq->kpq", sums.hessian, slots, parameters, parameters
    )
    return Sums(value, gradient, hessian)


def _one_hot(table: EventTable, phi: Array, alpha: Array) -> tuple[Array, Array]:
    """Return matrices from the slots and parameters of each region to those of all.

    Their shapes are ``(R, C, K)`` and ``(R, s, S)``; rows of padding are zero.
    """
    return (
        jax.nn.one_hot(table.component, phi.size, dtype=alpha.dtype),
        jax.nn.one_hot(table.region_parameter, alpha.size, dtype=alpha.dtype),
    )


def _by_region(
    table: EventTable,
    of_chunk: Callable[[Any], Sums],
    chunks: Any,
    skip: Callable[[Any], Array] | None = None,
) -> Sums:
    """Add the sums of the chunks of each region; they get a leading axis of regions."""
    shapes = jax.eval_shape(of_chunk, jax.tree.map(lambda leaf: leaf[0], chunks))
    regions = table.component.shape[0]
    zero = jax.tree.map(
        lambda leaf: jnp.zeros((regions, *leaf.shape), leaf.dtype), shapes
    )

    @jax.checkpoint
    def step(total: Sums, chunk: Any) -> tuple[Sums, None]:
        place = chunk[0]

        def plus(sums: Array, more: Array) -> Array:
            last = jax.lax.dynamic_index_in_dim(sums, place, keepdims=False)
            return jax.lax.dynamic_update_index_in_dim(sums, last + more, place, 0)

        def added() -> Sums:
            return jax.tree.map(plus, total, of_chunk(chunk))

        if skip is None:
            return added(), None
        return jax.lax.cond(skip(chunk), lambda: total, added), None

    return jax.lax.scan(step, zero, chunks)[0]


@ft.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _first(
    sums: Callable[..., Sums], order: int, at: Any, weights: Any, table: EventTable
) -> Sums:
    """Return sums to an order below 2, whose derivatives by `at` are those sums."""
    return sums(order, at, weights, table)


@ft.partial(_first.defjvp, symbolic_zeros=True)
def _push(
    sums: Callable[..., Sums], order: int, primals: Any, tangents: Any
) -> tuple[Sums, Sums]:
    at, weights, table = primals
    moved, *others = tangents
    if not all(type(leaf) is SymbolicZero for leaf in jax.tree.leaves(others)):
        return _by_other_numbers(sums, order, primals, tangents)
    change = jnp.concatenate(
        [_instantiated(t, p) for t, p in zip(moved, at, strict=True)]
    )
    if order + 1 < 2:
        more = _first(sums, order + 1, at, weights, table)
    else:
        more = sums(order + 1, at, weights, table)
    out = [more.value, more.gradient, more.hessian][: order + 2]
    tangent = Sums(*(slope @ change for slope in out[1:]))
    return Sums(*out[:-1]), tangent


def _by_other_numbers(sums: Any, order: int, primals: Any, tangents: Any) -> Any:
    arrays, rest = eqx.partition(primals, eqx.is_inexact_array)
    zeros = jax.tree.map(
        _instantiated,
        tangents,
        primals,
        is_leaf=lambda leaf: type(leaf) is SymbolicZero,
    )
    changes = eqx.filter(zeros, jax.tree.map(eqx.is_inexact_array, primals))

    def of_arrays(arrays: Any) -> Sums:
        return sums(order, *eqx.combine(arrays, rest))

    return jax.jvp(of_arrays, (arrays,), (changes,))


def _instantiated(tangent: Any, primal: Any) -> Any:
    return jnp.zeros_like(primal) if type(tangent) is SymbolicZero else tangent
