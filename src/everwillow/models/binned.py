"""Models of binned channels: sums of templates with effects of parameters."""

import dataclasses
import functools as ft
from collections.abc import Mapping
from typing import Any, ClassVar, final

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from everwillow._errors import ShapeMismatchError, unknown_key
from everwillow._tree import leaf_shape
from everwillow._typing import Array, Key, Scalar
from everwillow.likelihood.binned.counts import binned_nll, expected_counts
from everwillow.likelihood.binned.hessian import binned_evaluation
from everwillow.likelihood.binned.packed import Packed
from everwillow.likelihood.binned.packing import pack
from everwillow.likelihood.binned.places import PlaceTable
from everwillow.likelihood.binned.spec import BinnedSpec, ParameterSpec
from everwillow.likelihood.poisson import poisson_nll
from everwillow.model import AbstractModel
from everwillow.models._model_parts import (
    Uncompared,
    constraint,
    fixed_values,
    separator,
    start_value,
)
from everwillow.objective import Evaluation
from everwillow.parameters.bound_table import BoundTable
from everwillow.parameters.constraint_table import (
    AuxTable,
    ConstraintTable,
    TableLayout,
)
from everwillow.statelib import State


# The constraint classes in the order of the kinds of a table.
_KINDS = ("normal", "poisson", "lognormal")
# A negligible yield.
NEXT_TO_NOTHING = 1e-30


@final
class FlatBinned(eqx.Module):
    """The main likelihood of a `BinnedModel` as a function of vectors.

    Attributes:
        packed: The likelihood in arrays.
        constrained_bytes: The positions of the constrained elements.
    """

    packed: Packed
    constrained_bytes: bytes = eqx.field(static=True)
    matrix_free: ClassVar[bool] = False

    @property
    def size(self) -> int:
        """The length of the vector."""
        return self.packed.places.size

    @property
    def constrained(self) -> np.ndarray:
        """The position of each element of the constraint table in the vector."""
        return np.frombuffer(self.constrained_bytes, np.int32)

    def nll(self, vector: Array, main: Float[Array, " bins"]) -> Scalar:
        """Return -ln L of the counts."""
        return binned_nll(self.packed, vector, self._counts(main))

    def evaluation(self, vector: Array, main: Float[Array, " bins"]) -> Evaluation:
        """Return -ln L with its exact derivatives."""
        return binned_evaluation(self.packed, vector, self._counts(main))

    def _counts(self, main: Any) -> Array:
        expected = self.packed.bin_place.shape
        actual = leaf_shape(main)
        if actual != expected:
            got = type(main).__name__ if actual is None else f"shape {actual}"
            raise ShapeMismatchError(
                'observation["main"]: expected the counts of all bins in one vector of '
                f"shape {expected}, got {got}. model.channels tells their order."
            )
        return jnp.asarray(main, jnp.result_type(float))


@final
class BinnedModel(AbstractModel):
    """A likelihood of binned channels, made from a `BinnedSpec`.

    The main data are one vector, the counts of all bins, channel after channel in the
    order of the specification and of `channels`.

    Attributes:
        terms: The likelihood of the counts, packed.
        yield_place: The position of each nominal yield in the packed arrays.
        poi: The key of the parameter of interest, or None.
        channels: The name and the number of bins of each channel.
        samples: The channel and name of each sample, in the order of the yields.
        uncompared_spec: The specification; models of one structure may differ in it.
    """

    state: State
    bounds: Mapping[Key, Any]
    fixed: dict[Key, Any]
    constraints: ConstraintTable
    observation: dict[str, Any]
    terms: FlatBinned
    yield_place: Array | np.ndarray
    poi: Key | None = eqx.field(static=True)
    channels: tuple[tuple[str, int], ...] = eqx.field(static=True)
    samples: tuple[tuple[str, str], ...] = eqx.field(static=True)
    uncompared_spec: Uncompared = eqx.field(static=True)

    @classmethod
    def from_spec(cls, spec: BinnedSpec) -> "BinnedModel":
        """Compile a specification into arrays.

        Raises:
            UnknownKeyError: If the parameter of an effect does not exist.
            ShapeMismatchError: If lengths do not agree.
        """
        known = {entry.name: entry for entry in spec.parameters}
        state = State.from_pytree(
            {name: start_value(entry) for name, entry in known.items()},
            sep=separator(known),
        )
        shapes = {str(key): np.shape(known[str(key)].start) for key in state}
        bounds = BoundTable.of(known, shapes)
        starts = dict(zip(shapes, bounds.layout.starts, strict=True))
        constraints, aux = _constraints(known, shapes)
        constrained = constraints.layout.gathered(bounds.layout.elements())
        packed, yield_place = pack(spec, PlaceTable(starts, shapes, spec.derived))
        return cls(
            state=state,
            bounds=bounds,
            fixed=fixed_values(known),
            constraints=constraints,
            observation={
                "main": np.concatenate(
                    [np.asarray(c.observed, float) for c in spec.channels]
                ),
                "aux": aux,
            },
            terms=FlatBinned(packed, constrained.astype(np.int32).tobytes()),
            yield_place=yield_place,
            poi=spec.poi,
            channels=tuple((c.name, c.observed.size) for c in spec.channels),
            samples=tuple((c.name, s.name) for c in spec.channels for s in c.samples),
            uncompared_spec=Uncompared(spec),
        )

    @property
    def spec(self) -> BinnedSpec | None:
        """The specification of the model; None after its templates were replaced."""
        return self.uncompared_spec.content

    @property
    def report(self) -> tuple[str, ...]:
        """Assumptions and normalisations of the reader of a file, one sentence each."""
        return () if self.spec is None else self.spec.report

    @property
    def bounds_are_ranges(self) -> bool:
        """Whether bounds are ranges for fits only; those of workspaces are."""
        return True

    @property
    def flat_main(self) -> FlatBinned:
        """The main likelihood as a function of vectors."""
        return self.terms

    @property
    def bin_labels(self) -> list[str]:
        """The name of each bin: ``"SR[0]"``."""
        return [f"{name}[{i}]" for name, bins in self.channels for i in range(bins)]

    def main_nll(self, params: Any, main: Float[Array, " bins"]) -> Scalar:
        """Return -ln L of the counts, without constraints."""
        return self.terms.nll(ravel_pytree(params)[0], main)

    def main_curvature(self, params: Any, main: Float[Array, " bins"]) -> Evaluation:
        """Return -ln L with its exact derivatives."""
        return self.terms.evaluation(ravel_pytree(params)[0], main)

    def expected(self, params: Any) -> Float[Array, " bins"]:
        """Return the expected counts."""
        return expected_counts(self.terms.packed, ravel_pytree(params)[0])

    def sample(self, params: Any, key: Array) -> Float[Array, " bins"]:
        """Draw counts."""
        rate = self.expected(params)
        return jr.poisson(key, rate, rate.shape).astype(rate.dtype)

    def saturated_nll(self, main: Float[Array, " bins"]) -> Scalar:
        """Return -ln L of a model that predicts every count exactly."""
        counts = jnp.asarray(main)
        return jnp.sum(poisson_nll(counts, counts))

    def __repr__(self) -> str:
        """Return one line with the numbers of channels, bins and parameters."""
        bins = sum(count for _, count in self.channels)
        kinds = sorted({name for _, name in self.samples})
        return (
            f"BinnedModel({len(self.channels)} channels, {bins} bins, {len(kinds)} "
            f"samples, {self.terms.size} parameters, poi={self.poi!r})"
        )

    def by_channel(self, counts: Float[Array, "*batch bins"]) -> dict[str, Any]:
        """Divide a vector of all bins into channels.

        Args:
            counts: An array with one entry for each bin along its last axis.
        """
        ends = np.cumsum([bins for _, bins in self.channels])[:-1]
        if np.shape(counts)[-1:] != (sum(bins for _, bins in self.channels),):
            raise ShapeMismatchError(
                f"by_channel: expected {sum(b for _, b in self.channels)} bins along "
                f"the last axis, got shape {np.shape(counts)}."
            )
        xp: Any = np if isinstance(counts, np.ndarray) else jnp
        parts = xp.split(counts, ends, axis=-1)
        return dict(zip([name for name, _ in self.channels], parts, strict=True))

    def bins_of(self, channel: str) -> slice:
        """Return the slice of a channel in the main data.

        Raises:
            UnknownKeyError: If there is no such channel.
        """
        start = 0
        for name, bins in self.channels:
            if name == channel:
                return slice(start, start + bins)
            start += bins
        names = [name for name, _ in self.channels]
        raise unknown_key(channel, names, where="bins_of", kind="channel")

    @property
    def templates(self) -> dict[tuple[str, str], Float[Array, " bins"]]:
        """The nominal yields by channel and sample."""
        flat = jnp.ravel(jnp.asarray(self.terms.packed.nominal))
        return {key: flat[place] for key, place in self._yield_places().items()}

    def with_templates(
        self, templates: Mapping[tuple[str, str], Float[Array, " bins"]]
    ) -> "BinnedModel":
        """Return the model with other nominal yields, which may be traced.

        The changes by shape effects, which are added to the nominal yields, do not
        change, and neither do factors. To differentiate by a template or to evaluate
        many signals at once, write a function of the yields that calls this.

        Args:
            templates: Yields by channel and sample, shape ``(bins,)``.

        Raises:
            UnknownKeyError: If there is no such channel or sample.
            ShapeMismatchError: If the number of bins differs.
        """
        places = self._yield_places()
        nominal = jnp.asarray(self.terms.packed.nominal)
        flat = nominal.ravel()
        for key, value in templates.items():
            if key not in places:
                raise unknown_key(key, places, where="templates", kind="sample")
            if np.shape(value) != places[key].shape:
                raise ShapeMismatchError(
                    f"templates: sample {key[1]!r} of channel {key[0]!r} has "
                    f"{places[key].size} bins, got shape {np.shape(value)}."
                )
            flat = flat.at[places[key]].set(value)
        changed = eqx.tree_at(
            lambda model: model.terms.packed.nominal, self, flat.reshape(nominal.shape)
        )
        return dataclasses.replace(changed, uncompared_spec=Uncompared(None))

    @property
    def filled(self) -> "BinnedModel":
        """The model with a negligible yield in place of nominal yields of 0.

        Data in a bin whose expectation without signal is zero are impossible for all
        nuisance parameters. With a negligible yield the effects of the samples in that
        bin determine the best values.
        """
        nominal = jnp.asarray(self.terms.packed.nominal)
        floor = jnp.where(nominal == 0, NEXT_TO_NOTHING, nominal)
        return eqx.tree_at(lambda model: model.terms.packed.nominal, self, floor)

    def _yield_places(self) -> dict[tuple[str, str], Any]:
        bins = dict(self.channels)
        ends = np.cumsum([bins[channel] for channel, _ in self.samples])[:-1]
        places = np.split(np.asarray(self.yield_place), ends)
        return dict(zip(self.samples, places, strict=True))

    @ft.cached_property  # computed once: a fit asks for it each time
    def bare(self) -> "BinnedModel":  # pyright: ignore[reportIncompatibleMethodOverride]
        """The model without start values, bounds and data."""
        return BinnedModel(
            state=self.state.with_values([None] * len(self.state)),
            bounds={},
            fixed={},
            constraints=self.constraints,
            observation={},
            terms=self.terms,
            poi=None,
            channels=self.channels,
            yield_place=np.zeros(0, np.int32),
            samples=(),
            uncompared_spec=Uncompared(None),
        )


def _constraints(
    known: Mapping[str, ParameterSpec], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[ConstraintTable, AuxTable]:
    specs = {
        name: entry.constraint
        for name, entry in sorted(known.items())
        if entry.constraint is not None
    }
    layout = TableLayout(
        [(name, _KINDS.index(spec.kind), shapes[name]) for name, spec in specs.items()]
    )
    # Packed into a table, as there may be thousands of constraints.
    aux, width = (
        layout.gathered(
            {
                name: np.asarray(getattr(spec, field), float)
                for name, spec in specs.items()
            }
        )
        for field in ("aux", "width")
    )
    groups = [
        constraint(_KINDS[kind], aux[part], width[part])
        for kind, part in layout.parts()
    ]
    return ConstraintTable(layout, tuple(groups), {}), AuxTable(layout, aux, {})
