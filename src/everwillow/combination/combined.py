"""The joint Model of several Models."""

import dataclasses
import functools as ft
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, final

import equinox as eqx
import jax
import jax.random as jr
import jax.tree_util as jtu
import numpy as np

from everwillow._tree import leaf_shape
from everwillow._typing import Array, Key, Scalar
from everwillow.combination._joint_gaussian import correlated
from everwillow.combination._merging import (
    merged_bounds,
    merged_constraints,
    merged_fixed,
)
from everwillow.combination._names import joint_states, named_models
from everwillow.combination._pieces import by_name, piece_count, side_by_side, slices
from everwillow.model import AbstractModel, Bound, FlatMain
from everwillow.model.entries import checked_scalar, number
from everwillow.objective import Evaluation, evaluate
from everwillow.parameters import AbstractConstraint, Interval
from everwillow.parameters.bound_table import BoundTable
from everwillow.parameters.constraint_table import ConstraintTable, TableLayout
from everwillow.statelib import State


@final
class FlatCombined(eqx.Module):
    """The main likelihood of a combination as a function of vectors.

    Attributes:
        parts: Main likelihoods of the models, whose vectors follow one another.
        names: The names of the models.
        constrained_bytes: Places of the constrained elements.
    """

    parts: tuple[FlatMain, ...]
    names: tuple[str, ...] = eqx.field(static=True)
    constrained_bytes: bytes = eqx.field(static=True)

    @property
    def size(self) -> int:
        """The length of the vector."""
        return sum(part.size for part in self.parts)

    @property
    def constrained(self) -> np.ndarray:
        """For each element of the constraint table its place in the vector."""
        return np.frombuffer(self.constrained_bytes, np.int32)

    @property
    def matrix_free(self) -> bool:
        """Whether second derivatives of a part can only be multiplied."""
        return any(part.matrix_free for part in self.parts)

    def nll(self, vector: Array, main: Any) -> Scalar:
        """Return the sum of the models' -ln L of their main data."""
        terms = [part.nll(*inputs) for part, inputs in self._with_inputs(vector, main)]
        return sum(terms[1:], start=terms[0])

    def evaluation(self, vector: Array, main: Any) -> Evaluation:
        """Return it with its derivatives."""
        return side_by_side(
            [
                part.evaluation(*inputs)
                for part, inputs in self._with_inputs(vector, main)
            ]
        )

    def _with_inputs(self, vector: Array, main: Any) -> list[tuple[FlatMain, Any]]:
        data = by_name(main, self.names, where='observation["main"]')
        pieces = jax.lax.split(vector, [part.size for part in self.parts])
        return list(zip(self.parts, zip(pieces, data, strict=True), strict=True))


def _packed_constraints(
    parts: Sequence[AbstractModel],
    constraints: Mapping[Key, AbstractConstraint],
    aux: Mapping[Key, Any],
    state: State,
) -> tuple[Mapping[Key, AbstractConstraint], Mapping[Key, Any], bytes]:
    """Return constraints and auxiliary observations as tables, if a part has one.

    Returns:
        Both, and the places of the elements of the table in the ravelled pytree.
    """
    if not any(isinstance(part.constraints, ConstraintTable) for part in parts):
        return constraints, aux, b""
    shapes = {key: leaf_shape(value) or () for key, value in state.items()}
    table = ConstraintTable.of(constraints, shapes)
    numbers = TableLayout.of(shapes).elements()
    tree = state.with_values(list(numbers.values())).to_pytree()
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    # A shared parameter appears several times in the pytree; its first place is used.
    _, first = np.unique(flat, return_index=True)
    elements = table.layout.gathered(numbers).astype(int)
    return table, table.aux(aux), first[elements].astype(np.int32).tobytes()


def _packed_bounds(
    parts: Sequence[AbstractModel], bounds: Mapping[Key, Any], state: State
) -> Mapping[Key, Any]:
    """Return bounds as a table, if a part has one and all are intervals."""
    any_table = any(isinstance(part.bounds, BoundTable) for part in parts)
    if not any_table or not all(isinstance(b, Interval) for b in bounds.values()):
        return bounds
    shapes = {key: leaf_shape(value) or () for key, value in state.items()}
    return BoundTable.of(bounds, shapes)


@final
class CombinedModel(AbstractModel):
    """Several Models as one, made by `combine`; it may be combined again.

    Its main data are a dictionary by model name. `params` is the tuple of the models'
    own pytrees, under their own names (the result of ``state.to_pytree()``); the tuple
    of an inner combination is part of the same flat tuple.

    Attributes:
        parts: The models.
        names: Their names.
        counts: For each model the number of its pytrees in the tuple, if its State was
            merged; None if it takes a single pytree.
        places: Places of packed constraints, in a combination of packed models.
        poi: Key of the parameter of interest, if the models that name one agree on it.
    """

    state: State
    bounds: Mapping[Key, Bound]
    fixed: dict[Key, Any]
    constraints: Mapping[Key, AbstractConstraint]
    observation: dict[str, Any]
    parts: tuple[AbstractModel, ...]
    names: tuple[str, ...] = eqx.field(static=True)
    counts: tuple[int | None, ...] = eqx.field(static=True)
    places: bytes = eqx.field(static=True, default=b"")
    poi: Key | None = eqx.field(static=True, default=None)

    @property
    def models(self) -> dict[str, AbstractModel]:
        """The models by name, as they were given."""
        return dict(zip(self.names, self.parts, strict=True))

    @property
    def bounds_are_ranges(self) -> bool:
        """Whether bounds are ranges for fits only in all models that have some."""
        bounded = [part for part in self.parts if part.bounds]
        return bool(bounded) and all(part.bounds_are_ranges for part in bounded)

    @property
    def bin_labels(self) -> dict[str, Any]:
        """The names of the bins of each model."""
        return {
            name: jtu.tree_map(
                lambda bin_, name=name: f"{name}: {bin_}", part.bin_labels
            )
            for name, part in zip(self.names, self.parts, strict=True)
        }

    def params_of(self, params: Any) -> dict[str, Any]:
        """Return the pytree of parameters of each model, by name.

        Args:
            params: The tuple of all pytrees, ``state.to_pytree()``.
        """
        return dict(zip(self.names, slices(params, self.counts), strict=True))

    def keys_of(self, key: Key) -> dict[str, Key]:
        """Return the key of a parameter in the State of each model that has it.

        Raises:
            UnknownKeyError: If the combination has no such parameter.
        """
        origins, start, keys = self.state.origins(key), 0, {}
        for name, part, count in zip(self.names, self.parts, self.counts, strict=True):
            own = {(piece - start, original) for piece, original in origins}
            for candidate in part.state:
                if own.intersection(part.state.origins(candidate)):
                    keys[name] = candidate
            start += 1 if count is None else count
        return keys

    def main_nll(self, params: Any, main: Any) -> Scalar:
        """Return the sum of the models' -ln L of their main data."""
        terms = [
            checked_scalar(part.main_nll(tree, data), where=f"main_nll of {name!r}")
            for name, part, tree, data in self._with_inputs(params, main)
        ]
        return sum(terms[1:], start=terms[0])

    def expected(self, params: Any) -> dict[str, Any]:
        """Return the Asimov main data of each model, by name."""
        return {
            name: self.models[name].expected(tree)
            for name, tree in self.params_of(params).items()
        }

    def sample(self, params: Any, key: Array) -> dict[str, Any]:
        """Draw the main data of each model, by name."""
        keys = jr.split(key, len(self.parts))
        trees = slices(params, self.counts)
        return {
            name: part.sample(tree, keys[i])
            for i, (name, part, tree) in enumerate(
                zip(self.names, self.parts, trees, strict=True)
            )
        }

    @property
    def main_curvature(self) -> Callable[..., Evaluation] | None:
        """The second-order evaluation of `main_nll`, or None if no model has one."""
        if all(part.main_curvature is None for part in self.parts):
            return None
        return self._main_curvature

    def _main_curvature(self, params: Any, main: Any) -> Evaluation:
        return side_by_side(
            [
                part.main_curvature(tree, data)
                if part.main_curvature is not None
                else evaluate(part.main_nll, tree, data)
                for _, part, tree, data in self._with_inputs(params, main)
            ]
        )

    @property
    def flat_main(self) -> FlatCombined | None:
        """The main likelihood as a function of vectors, if all models have one."""
        parts = [part.flat_main for part in self.parts]
        flat_parts = tuple(part for part in parts if part is not None)
        if len(flat_parts) < len(parts):
            return None
        return FlatCombined(flat_parts, self.names, self.places)

    @ft.cached_property  # as each fit uses it
    def bare(self) -> "CombinedModel":  # pyright: ignore[reportIncompatibleMethodOverride]
        """The combination without start values, bounds and data, if it is packed."""
        if self.flat is None:
            return self
        return dataclasses.replace(
            self,
            state=self.state.with_values([None] * len(self.state)),
            bounds={},
            fixed={},
            observation={},
            poi=None,
            parts=tuple(part.bare for part in self.parts),
        )

    @property
    def given_totals(self) -> Any:
        """The number of sums of data that the models take as given."""
        return sum(getattr(part, "given_totals", 0) for part in self.parts)

    @property
    def counts_may_vanish(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the expected count of a bin of one of the models may be zero."""
        return any(part.counts_may_vanish for part in self.parts)

    def __repr__(self) -> str:
        """Return one line with the models and the number of parameters."""
        shapes = [leaf_shape(value) or () for value in self.state.values()]
        return (
            f"CombinedModel({len(self.names)} models ({', '.join(self.names)}), "
            f"{sum(map(math.prod, shapes))} parameters, poi={self.poi!r})"
        )

    def _with_inputs(self, params: Any, main: Any) -> list[tuple[str, Any, Any, Any]]:
        trees = slices(params, self.counts)
        data = by_name(main, self.names, where='observation["main"]')
        return list(zip(self.names, self.parts, trees, data, strict=True))


def combine(
    models: Sequence[AbstractModel] | Mapping[str, AbstractModel],
    *,
    rename: Any = None,
    shared: Collection[Key] | None = None,
    correlate: Mapping[tuple[Key, Key], Any] | None = None,
    constraints: Mapping[Any, AbstractConstraint | None] | None = None,
    bounds: Mapping[Key, Bound | None] | None = None,
) -> CombinedModel:
    """Combine Models into one joint Model, each constraint counted once.

    First parameters are renamed, then those that are not shared get the prefix of their
    model, then equal keys become one parameter. The constraints and bounds of a shared
    parameter must agree; one that only some of the models have applies to all. Where
    start values differ, that of the last model is used.

    Args:
        models: The models, in a list (then they are called ``"model0"``, ...) or by
            name.
        rename: ``{model name or position: {old: new}}``, a list with one mapping for
            each model, or ``{old: new}`` for every model that has the parameter.
        shared: The keys that models share, after renaming. All others get the name of
            their model as prefix: ``"atlas.scale"``. If None, equal keys are one
            parameter.
        correlate: ``{("lumi_a", "lumi_b"): 0.3}`` replaces `Normal` constraints by a
            joint Gaussian with these correlations; names as after renaming and
            prefixing. Pairs that are not given are uncorrelated.
        constraints: Constraints that replace those of the models, by key (any name for
            a `MultivariateNormal`); None for no constraint.
        bounds: Bounds that replace those of the models; None for no bound.

    Raises:
        ConflictError: If models disagree on a constraint, a bound, or on whether a
            parameter is fixed; the message shows both versions.
        UnknownKeyError: If a key names no parameter.
        ArgumentValueError: If there is no model, a parameter to share is in one model
            only, or a pair cannot be correlated.
        NotPositiveDefiniteError: If correlations contradict each other.
        ShapeMismatchError: If a shared parameter has several shapes.

    Example:
        >>> from everwillow.model import Model
        >>> from everwillow.parameters import Normal
        >>> def nll(params, mass):
        ...     return 0.5 * ((mass - params["mass"] * params["scale"]) / 1.5) ** 2
        >>> def measured(mass, width):
        ...     start = {"mass": 125.0, "scale": 1.0}
        ...     scale = {"scale": Normal(1.0, width)}
        ...     return Model(nll, start, mass, constraints=scale)
        >>> joint = combine(
        ...     {"a": measured(125.5, 0.02), "b": measured(124.8, 0.03)},
        ...     shared=["mass"],
        ... )
        >>> joint.state
        State(mass=125.0, a.scale=1.0, b.scale=1.0)
    """
    parts = named_models(models)
    states, state = joint_states(parts, rename, shared)
    # Renaming keeps the order, so old and new names are found side by side.
    keys = {
        name: dict(zip(part.state, states[name], strict=True))
        for name, part in parts.items()
    }
    joint_constraints, aux = merged_constraints(
        parts, keys, state, constraints, shared=shared
    )
    if correlate is not None:
        joint_constraints, aux = correlated(joint_constraints, aux, correlate, state)
    models = tuple(parts.values())
    joint_constraints, aux, places = _packed_constraints(
        models, joint_constraints, aux, state
    )
    pois = {_poi(part.poi, keys[name]) for name, part in parts.items() if part.poi}
    main = {name: part.observation["main"] for name, part in parts.items()}
    return CombinedModel(
        state=state,
        bounds=_packed_bounds(models, merged_bounds(parts, keys, state, bounds), state),
        fixed=merged_fixed(parts, keys),
        constraints=joint_constraints,
        observation={"main": jtu.tree_map(number, main), "aux": aux},
        parts=models,
        names=tuple(parts),
        counts=tuple(piece_count(part.state) for part in models),
        places=places,
        poi=pois.pop() if len(pois) == 1 else None,
    )


def _poi(poi: Key, keys: Mapping[Key, Key]) -> Key | None:
    """Return a parameter of interest, or an element of one, by its joint key."""
    if poi in keys or not isinstance(poi, str):
        return keys.get(poi)
    name, bracket, index = poi.rpartition("[")
    return f"{keys[name]}{bracket}{index}" if name in keys else None
