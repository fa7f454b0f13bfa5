r"""Regularisation by penalties on the curvature of fitted histograms.

Unfolded distributions oscillate if neighbouring bins are hard to distinguish. With the
ratio :math:`r = n / n_0` of a histogram to its values at the start, and the curvature
:math:`c = \Delta r`, the penalty

.. math:: e^{2\tau} \sum_i c_i^2

is added to -ln L for each regularised histogram. :math:`\Delta` is the discrete
Laplacian: (1, -2, 1) in one dimension, its sums over the axes (stencils of 5 and 7
points) in two and three. Beyond its edges a histogram is continued with its last
values. The penalty of a constant ratio is zero, so that a strength which scales all
bins is not affected.

Tikhonov, Sov. Math. Dokl. 5 (1963) 1035; Höcker and Kartvelishvili, Nucl. Instrum.
Meth. A 372 (1996) 469, hep-ph/9509307, section 5, with the same ratio.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ShapeMismatchError,
    unknown_key,
)
from everwillow.curvature import Dense, Operator
from everwillow.likelihood.histograms import Layout, Yields
from everwillow.models.templates.likelihood.bins import Bins, Links
from everwillow.objective import Evaluation
from everwillow.parameters.constraint_table import TableLayout


T = TypeVar("T")

# Number of second derivatives that are computed at a time.
AT_ONCE = 16
# Number of random directions that estimate the diagonal of a matrix-free penalty.
PROBES = 32


@final
class Curvature(eqx.Module):
    """A penalty on the curvature of a histogram, relative to its values at the start.

    Attributes:
        mapping: ``mapping(params, yields)`` returns the histogram as an array with one
            dimension for each axis, or several of them as a pytree: a mapping of
            `everwillow.mappings` or any function that JAX can differentiate, of the
            parameters by name and the `Yields` of all bins, masked ones included.
            Auxiliary parameters of simulated samples have the values that the data
            prefer without the penalty, as in a mapping after the fit.
        strength: τ; the sum of squared curvatures is multiplied by :math:`e^{2τ}`.

    Example:
        >>> prior = Curvature(lambda params, yields: yields["gen"], strength=1.5)
        >>> float(prior.strength)
        1.5
    """

    mapping: Callable[[Any, Yields], PyTree]
    strength: Float[Array | np.ndarray, ""]

    def __init__(
        self, mapping: Callable[[Any, Yields], PyTree], *, strength: Any = 0.0
    ) -> None:
        """Define the penalty.

        Args:
            mapping: The histogram.
            strength: τ, any number; with 0 the weight of squared curvatures is 1.

        Raises:
            ArgumentTypeError: If `mapping` cannot be called.
            ArgumentValueError: If `strength` is not one number.
        """
        if not callable(mapping):
            raise ArgumentTypeError(
                "mapping: expected a function of (params, yields), got "
                f"{type(mapping).__name__}. For text use "
                "everwillow.mappings.parse_mapping."
            )
        self.mapping = mapping
        self.strength = _strength(strength)

    def with_strength(self, strength: Any) -> "Curvature":
        """Return the same penalty with another strength."""
        return Curvature(self.mapping, strength=strength)


def _strength(value: Any) -> Any:
    if isinstance(value, jax.Array):
        strength: Any = jnp.asarray(value, float)
    else:
        strength = np.asarray(value, float)
    if strength.shape != () or (
        isinstance(strength, np.ndarray) and np.isnan(strength)
    ):
        raise ArgumentValueError(f"strength: expected one number, got {value!r}.")
    return strength


def laplacian(values: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return the sum of second differences along all axes.

    Beyond an edge the array is continued with the value at the edge.

    Example:
        >>> print(laplacian(jnp.array([1.0, 1.0, 2.0, 4.0])))
        [ 0.  1.  1. -2.]
    """
    total = jnp.zeros_like(values)
    for axis in range(values.ndim):
        beyond = [(int(axis == other),) * 2 for other in range(values.ndim)]
        padded = jnp.pad(values, beyond, mode="edge")
        total = total + jnp.diff(padded, 2, axis)
    return total


class ByName(Mapping[str, Array]):
    """The parameters in a vector by name, sliced at access."""

    __slots__ = ("_places", "_vector")

    def __init__(self, places: TableLayout, vector: Float[Array, " n"]) -> None:
        self._places, self._vector = places, vector

    def __getitem__(self, name: str) -> Array:
        """Return one parameter."""
        if name not in self._places.keys():  # noqa: SIM118
            raise unknown_key(name, self._places.keys(), where="params")
        _, here, shape = self._places.find(name)
        return self._vector[here].reshape(shape)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(map(str, self._places.keys()))

    def __len__(self) -> int:
        """Return the number of parameters."""
        return len(self._places)


@final
class Penalty(eqx.Module):
    """The penalty that a regularisation adds to -ln L.

    Attributes:
        curvatures: The histograms to smooth.
        prefit: The values of each histogram at the start.
        places: The names and shapes of the parameters.
        layout: Channels and processes.
        masked: The templates of the masked channels, if there are any.
        links: The effects of fluctuations in fitted bins on masked ones, if any.
    """

    curvatures: tuple[Curvature, ...]
    prefit: tuple[PyTree, ...]
    places: TableLayout = eqx.field(static=True)
    layout: Layout = eqx.field(static=True)
    masked: Bins | None
    links: Links | None

    def roots(
        self, vector: Float[Array, " n"], yields: Float[Array, "processes bins"]
    ) -> Float[Array, " m"]:
        """Return numbers whose squares add up to the penalty.

        Args:
            vector: The parameters.
            yields: The yields of the fitted and of the masked bins.
        """
        params = ByName(self.places, vector)
        every = Yields(yields, self.layout)
        parts = []
        for part, start in zip(self.curvatures, self.prefit, strict=True):
            ratio = jax.tree.map(jnp.divide, part.mapping(params, every), start)
            weight = jnp.exp(jnp.asarray(part.strength, yields.dtype))
            parts += [
                weight * laplacian(leaf).ravel() for leaf in jax.tree.leaves(ratio)
            ]
        return jnp.concatenate(parts)


def regularised(
    model: Any, regularisation: Curvature | Iterable[Curvature] | None
) -> Any:
    """Add a regularisation to a template model.

    Args:
        model: A model without regularisation.
        regularisation: The histograms to smooth.

    Raises:
        ArgumentTypeError: If `regularisation` does not consist of `Curvature`.
        ArgumentValueError: If a histogram is zero in a bin at the start.
        ShapeMismatchError: If a histogram has no axis.
    """
    if regularisation is None or isinstance(regularisation, Curvature):
        regularisation = () if regularisation is None else (regularisation,)
    curvatures = tuple(regularisation)
    for one in curvatures:
        if not isinstance(one, Curvature):
            raise ArgumentTypeError(
                "regularisation: expected Curvature(mapping, strength=...) or several "
                f"of them, got {type(one).__name__}."
            )
    if not curvatures:
        return model
    layout = model.layout
    terms, masked, links = model.terms, model.masked, model.links
    start = {str(key): np.asarray(value) for key, value in model.state.items()}
    vector = jnp.asarray(np.concatenate([np.ravel(v) for v in start.values()]))
    beta = terms.statistics.nominal
    rows = terms.yields(vector)
    yields = Yields(terms.by_process(vector, rows, beta, masked, links), layout)
    names = TableLayout.of({key: value.shape for key, value in start.items()})
    params = ByName(names, vector)
    prefit = tuple(_start_of(one, params, yields) for one in curvatures)
    penalty = Penalty(curvatures, prefit, names, layout, masked, links)
    return dataclasses.replace(model, terms=dataclasses.replace(terms, penalty=penalty))


def _start_of(part: Curvature, params: Any, yields: Yields) -> PyTree:
    values = jax.tree.map(np.asarray, part.mapping(params, yields))
    for leaf in jax.tree.leaves(values):
        if not leaf.ndim:
            raise ShapeMismatchError(
                f"regularisation: {part.mapping!r} returns a single number, which has "
                "no curvature. Keep an axis."
            )
        bad = ~np.isfinite(leaf) | (leaf == 0)
        if np.any(bad):
            where = tuple(int(i) for i in np.argwhere(bad)[0])
            labels = getattr(part.mapping, "labels", None)
            if labels is not None:
                names = ", ".join(repr(str(n)) for n in np.array(labels(params))[bad])
                raise ArgumentValueError(
                    f"regularisation: {part.mapping!r} means {names}, too, which "
                    f"starts at {leaf[where]}, so that there is no ratio to it. Write "
                    "patterns that leave it out, such as names in full; or give it "
                    "another start value."
                )
            raise ArgumentValueError(
                f"regularisation: {part.mapping!r} is {leaf[where]} at the start "
                f"values in {int(bad.sum())} bins, the first of them {where}, so that "
                "there is no ratio to it. Select other bins, or merge some."
            )
    return values


def with_strength(model: T, strength: Any) -> T:
    """Return a template model with other strengths of its regularisation.

    It uses the compiled programs of the model.

    Args:
        model: A `everwillow.models.templates.TemplateModel` with regularisation.
        strength: τ for all regularised histograms, or one for each.

    Raises:
        ArgumentValueError: If there is no regularisation, or if their numbers differ.

    Example:
        >>> from everwillow.models.templates import TemplateBuilder, TemplateModel
        >>> builder = TemplateBuilder()
        >>> builder.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
        >>> builder.add_process(np.array([5.0, 5.0]), "w", "ch0", signal=True)
        >>> builder.add_data(np.array([6.0, 7.0]), "ch0")
        >>> smooth = Curvature(lambda params, yields: yields["ch0"])
        >>> model = TemplateModel.from_spec(builder.spec(), regularisation=smooth)
        >>> float(with_strength(model, 3.0).terms.penalty.curvatures[0].strength)
        3.0
    """
    penalty = getattr(getattr(model, "terms", None), "penalty", None)
    if penalty is None:
        raise ArgumentValueError(
            "model: it has no regularisation. Give it some: "
            "TemplateModel.from_spec(..., regularisation=Curvature(mapping))."
        )
    count = len(penalty.curvatures)
    several = list(strength) if np.ndim(strength) else [strength] * count
    if len(several) != count:
        raise ArgumentValueError(
            f"strength: {len(several)} values for {count} regularised histograms."
        )
    return eqx.tree_at(
        lambda m: [part.strength for part in m.terms.penalty.curvatures],
        model,
        [_strength(value) for value in several],
    )


def penalised(
    evaluation: Evaluation, roots: Callable[[Array], Array], vector: Float[Array, " n"]
) -> Evaluation:
    """Add a sum of squares, with its exact derivatives, to an evaluation.

    Args:
        evaluation: The evaluation of the other terms.
        roots: The numbers whose squares are added, as a function of the vector.
        vector: The parameters.
    """

    def penalty(vector):
        return jnp.sum(roots(vector) ** 2)

    (value, slope), jvp_fn = jax.linearize(jax.value_and_grad(penalty), vector)
    value, slope = evaluation.value + value, evaluation.gradient + slope

    def product(move):
        return jvp_fn(move)[1]

    if not isinstance(evaluation.curvature, Dense):
        before = evaluation.curvature
        diagonal = before.diagonal() + _diagonal(roots, vector)
        curvature = Operator(lambda v: before.matvec(v) + product(v), diagonal)
        return Evaluation(value, slope, curvature)
    hessian = _stacked(product, jnp.eye(vector.size, dtype=vector.dtype))
    stand_in = evaluation.gauss_newton
    if isinstance(stand_in, Dense):
        jacobian = _jacobian(roots, vector)
        stand_in = Dense(stand_in.matrix + 2 * jacobian.T @ jacobian)
    return Evaluation(
        value,
        slope,
        Dense(evaluation.curvature.matrix + 0.5 * (hessian + hessian.T)),
        stand_in,
    )


def _stacked(function: Callable[[Array], Array], moves: Array) -> Array:
    return jax.lax.map(function, moves, batch_size=min(AT_ONCE, moves.shape[0]))


def _jacobian(fn: Callable[[Array], Array], x: Array) -> Float[Array, "m n"]:
    """Return the derivatives, forward or backward, whichever is cheaper."""
    size = jax.eval_shape(fn, x).shape[0]
    if size < x.size:
        vjp_fn = jax.vjp(fn, x)[1]
        return _stacked(lambda unit: vjp_fn(unit)[0], jnp.eye(size, dtype=x.dtype))
    jvp_fn = jax.linearize(fn, x)[1]
    return _stacked(jvp_fn, jnp.eye(x.size, dtype=x.dtype)).T


def _diagonal(roots: Callable[[Array], Array], x: Array) -> Float[Array, " n"]:
    """Return a positive approximation of the diagonal of the Hessian."""
    size = jax.eval_shape(roots, x).shape[0]
    probes = np.eye(size)
    if size > PROBES:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (PROBES, size))
        probes = signs / np.sqrt(PROBES)
    vjp_fn = jax.vjp(roots, x)[1]
    rows = _stacked(lambda probe: vjp_fn(probe)[0], jnp.asarray(probes, x.dtype))
    return 2 * jnp.sum(rows**2, 0)


__all__ = [
    "Curvature",
    "Penalty",
    "laplacian",
    "penalised",
    "regularised",
    "with_strength",
]
