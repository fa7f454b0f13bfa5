"""The model of a likelihood with other distributions than histfactory ones."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from everwillow._tree import leaf_shape
from everwillow._typing import Array, Key, Scalar
from everwillow.likelihood.binned.counts import expected_counts
from everwillow.likelihood.binned.spec import BinnedSpec, ParameterSpec
from everwillow.model import AbstractModel
from everwillow.models._model_parts import (
    Uncompared,
    constraint,
    fixed_values,
    separator,
    start_value,
)
from everwillow.models.binned import BinnedModel, FlatBinned
from everwillow.models.hs3.parameters import Joint
from everwillow.models.hs3.terms.base import AbstractTerm
from everwillow.parameters import AbstractConstraint, Interval, MultivariateNormal
from everwillow.statelib import State


@final
class Channels(eqx.Module):
    """The histfactory distributions of a likelihood.

    Attributes:
        flat: Their likelihood as a function of vectors.
        parameters: Names of their parameters, in the order of the vector.
        sizes: The name and the number of bins of each channel, in the order of the
            data.
    """

    flat: FlatBinned
    parameters: tuple[str, ...] = eqx.field(static=True)
    sizes: tuple[tuple[str, int], ...] = eqx.field(static=True)

    @classmethod
    def from_spec(cls, spec: BinnedSpec) -> "Channels":
        """Compile the channels into arrays."""
        model = BinnedModel.from_spec(spec)
        names = tuple(sorted(entry.name for entry in spec.parameters))
        return cls(model.flat_main, names, model.channels)

    def nll(self, params: Mapping[str, Array], main: Mapping[str, Array]) -> Scalar:
        """Return -ln L of the counts."""
        counts = jnp.concatenate([main[name] for name, _ in self.sizes])
        return self.flat.nll(self._vector(params), counts)

    def expected(self, params: Mapping[str, Array]) -> dict[str, Float[Array, "..."]]:
        """Return the expected counts by channel."""
        counts = expected_counts(self.flat.packed, self._vector(params))
        ends = np.cumsum([bins for _, bins in self.sizes])[:-1].tolist()
        parts = jnp.split(counts, ends)
        return dict(zip((name for name, _ in self.sizes), parts, strict=True))

    def _vector(self, params: Mapping[str, Array]) -> Float[Array, " params"]:
        return ravel_pytree({name: params[name] for name in self.parameters})[0]


@final
class Hs3Model(AbstractModel):
    """A likelihood of HS3 that has other distributions than histfactory ones.

    The main data are a dictionary by distribution: counts of histfactory distributions,
    and the data of the term of each other distribution. Auxiliary measurements of
    single parameters are constraints.

    Attributes:
        channels: The histfactory distributions, or None.
        terms: All others, by name.
        poi: Key of the parameter of interest, or None.
        report: Assumptions and normalisations of the reader.
        document: The document of the model.
    """

    state: State
    bounds: dict[Key, Any]
    fixed: dict[Key, Any]
    constraints: dict[Key, AbstractConstraint]
    observation: dict[str, Any]
    channels: Channels | None
    terms: dict[str, AbstractTerm]
    poi: Key | None = eqx.field(static=True)
    report: tuple[str, ...] = eqx.field(static=True)
    document: Uncompared = eqx.field(static=True)

    @classmethod
    def from_parts(
        cls,
        spec: BinnedSpec,
        terms: Sequence[AbstractTerm],
        parameters: Sequence[ParameterSpec],
        joint: Mapping[str, Joint],
        document: Mapping[str, Any],
    ) -> "Hs3Model":
        """Make a model of its parts.

        Args:
            spec: The histfactory channels with their parameters; may be empty.
            terms: The terms of all other distributions.
            parameters: All parameters.
            joint: Measurements of several parameters, by name.
            document: The document of the parts.
        """
        known = {e.name: e for e in sorted(parameters, key=lambda entry: entry.name)}
        named = _by_name(terms, [channel.name for channel in spec.channels])
        measured = {
            name: entry.constraint
            for name, entry in known.items()
            if entry.constraint is not None
        }
        several = {_free_name(name, known): one for name, one in joint.items()}
        constraints: dict[Key, AbstractConstraint] = {
            name: constraint(one.kind, one.aux, one.width)
            for name, one in measured.items()
        }
        constraints |= {
            name: MultivariateNormal(one.parameters, one.aux, one.covariance)
            for name, one in several.items()
        }
        counts = {c.name: np.asarray(c.observed, float) for c in spec.channels}
        data = {name: term.data for name, term in named.items()}
        aux = {
            name: np.broadcast_to(
                np.asarray(one.aux, float), np.shape(known[name].start)
            )[()]
            for name, one in measured.items()
        }
        return cls(
            state=State.from_pytree(
                {name: start_value(entry) for name, entry in known.items()},
                sep=separator(known),
            ),
            bounds={
                name: Interval(e.lower, e.upper)
                for name, e in known.items()
                if np.isfinite(e.lower).any() or np.isfinite(e.upper).any()
            },
            fixed=fixed_values(known),
            constraints=constraints,
            observation={
                "main": dict(sorted((counts | data).items())),
                "aux": aux | {n: one.aux for n, one in several.items()},
            },
            channels=Channels.from_spec(spec) if spec.channels else None,
            terms=named,
            poi=spec.poi,
            report=spec.report,
            document=Uncompared(document),
        )

    @property
    def bounds_are_ranges(self) -> bool:
        """Whether bounds are ranges for fits only; those of domains are."""
        return True

    def main_nll(self, params: Any, main: Any) -> Scalar:
        """Return -ln L of the main data, without the constraints."""
        values = {name: jnp.asarray(value, float) for name, value in params.items()}
        total = jnp.zeros(())
        if self.channels is not None:
            total = total + self.channels.nll(values, main)
        for name, term in self.terms.items():
            total = total + term.nll(values, main[name])
        return total

    def expected(self, params: Any) -> dict[str, Any]:
        """Return the Asimov main data by distribution."""
        values = {name: jnp.asarray(value, float) for name, value in params.items()}
        data = {} if self.channels is None else self.channels.expected(values)
        data |= {name: term.expected(values) for name, term in self.terms.items()}
        return dict(sorted(data.items()))

    def sample(self, params: Any, key: Array) -> dict[str, Any]:
        """Draw main data by distribution."""
        values = {name: jnp.asarray(value, float) for name, value in params.items()}
        rates = {} if self.channels is None else self.channels.expected(values)
        names = sorted([*rates, *self.terms])
        data = {}
        for name, one in zip(names, jr.split(key, len(names)), strict=True):
            if name in rates:
                drawn = jr.poisson(one, rates[name], rates[name].shape)
                data[name] = drawn.astype(rates[name].dtype)
            else:
                data[name] = self.terms[name].sample(values, one)
        return data

    def __repr__(self) -> str:
        """Return one line with the numbers of channels, terms and parameters."""
        sizes = () if self.channels is None else self.channels.sizes
        shapes = [leaf_shape(value) or () for value in self.state.values()]
        return (
            f"Hs3Model({len(sizes)} channels, {sum(bins for _, bins in sizes)} bins, "
            f"{len(self.terms)} other terms, {sum(map(math.prod, shapes))} parameters, "
            f"poi={self.poi!r})"
        )


def _free_name(name: str, names: Mapping[str, Any]) -> str:
    """Return a name for a joint constraint that no parameter has."""
    while name in names:
        name = f"{name}_constraint"
    return name


def _by_name(
    terms: Sequence[AbstractTerm], names: Sequence[str]
) -> dict[str, AbstractTerm]:
    named: dict[str, AbstractTerm] = {}
    for term in terms:
        name, number = term.name, 2
        while name in named or name in names:
            name, number = f"{term.name}_{number}", number + 1
        # As arrays, so that models of one structure share a compiled program.
        named[name] = jax.tree.map(
            lambda leaf: np.asarray(leaf) if isinstance(leaf, (int, float)) else leaf,
            term,
        )
    return dict(sorted(named.items()))
