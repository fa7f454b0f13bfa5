"""The samples of a density-ratio workspace: yields and the effects on them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow.likelihood.binned.spec import (
    BinScale,
    ChannelSpec,
    Derived,
    Effect,
    Interpolation,
    NormVariation,
    SampleSpec,
    Scale,
    ShapeVariation,
)
from everwillow.models._document import Node, Report
from everwillow.models.nsbi._parameters import Parameters, statistics_name
from everwillow.models.nsbi.likelihood.responses import LEAST_FACTOR
from everwillow.models.nsbi.spec import UnbinnedRegion, UnbinnedSample


@dataclasses.dataclass(frozen=True, slots=True)
class Polynomial:
    """A polynomial of one parameter, compared by its coefficients.

    Attributes:
        coefficients: Highest power first.
    """

    coefficients: tuple[float, ...]

    def __call__(self, value: Float[Array, ""]) -> Float[Array, ""]:
        """Return the polynomial at a value."""
        return jnp.polyval(jnp.asarray(self.coefficients, value.dtype), value)


class Samples:
    """Reads samples, and collects the numbers derived from couplings.

    Args:
        parameters: The parameters of the workspace.
        code: The interpolation of the effects of nuisance parameters.
        report: The report of the reader.

    Attributes:
        derived: The polynomials of couplings, by the name of a derived number.
    """

    def __init__(
        self, parameters: Parameters, code: Interpolation, report: Report
    ) -> None:
        self._parameters = parameters
        self._code: Interpolation = code
        self._report = report
        self.derived: dict[str, Derived] = {}

    def binned(self, node: Node, channel: str, bins: int) -> SampleSpec:
        """Read a sample of a binned channel.

        Args:
            node: The sample.
            channel: The name of its channel.
            bins: The number of bins of the channel.
        """
        nominal = node.child("data").numbers(size=bins, owner=f"channel {channel!r}")
        effects: list[Effect] = []
        for modifier in self._modifiers(node):
            if modifier.type == "normplusshape":
                down, up = self._factors(modifier, bins)
                effects.append(
                    ShapeVariation(
                        modifier.name, nominal * down, nominal * up, self._code
                    )
                )
            else:
                effects.append(self._norm(modifier))
        return SampleSpec(node.name, nominal, tuple(effects))

    def unbinned(self, node: Node) -> UnbinnedSample:
        """Read a sample of an unbinned channel."""
        (expected,) = node.child("data").numbers(size=1)
        effects = []
        for modifier in self._modifiers(node):
            if modifier.type == "normplusshape":
                down, up = self._factors(modifier, 1)
                effects.append(self._variation(modifier.name, down[0], up[0]))
            else:
                effects.append(self._norm(modifier))
        return UnbinnedSample(node.name, float(expected), tuple(effects))

    def with_statistics(
        self, channel: ChannelSpec, node: Node
    ) -> tuple[ChannelSpec, np.ndarray]:
        """Let the bins of a channel fluctuate within the errors of its templates.

        Args:
            channel: The channel.
            node: Its node, whose samples have a ``variance``.

        Returns:
            The channel, and the relative error of each bin.
        """
        factor = BinScale(statistics_name(channel.name))
        strengths = [self._strength(sample.effects) for sample in channel.samples]
        changed = tuple(
            dataclasses.replace(sample, effects=(*sample.effects, factor))
            for sample in channel.samples
        )
        yields = [sample.nominal for sample in channel.samples]
        errors = _relative_errors(node, yields, strengths)
        return dataclasses.replace(channel, samples=changed), errors

    def with_rate_statistics(
        self, region: UnbinnedRegion, node: Node
    ) -> tuple[UnbinnedRegion, np.ndarray]:
        """Let the number of events of a region fluctuate within its error.

        Args:
            region: The region.
            node: Its node, whose samples have a ``variance``.

        Returns:
            The region, and the relative error of the number, shape ``(1,)``.
        """
        factor = Scale(statistics_name(region.name))
        strengths = [self._strength(sample.effects) for sample in region.samples]
        changed = tuple(
            dataclasses.replace(sample, effects=(*sample.effects, factor))
            for sample in region.samples
        )
        yields = [np.array([sample.expected]) for sample in region.samples]
        errors = _relative_errors(node, yields, strengths)
        return dataclasses.replace(region, samples=changed), errors

    def _strength(self, effects: Sequence[Effect]) -> float:
        """Return the product of factors and couplings at their start values."""
        product = 1.0
        for effect in effects:
            if not isinstance(effect, Scale):
                continue
            derived = self.derived.get(effect.parameter)
            if derived is None:
                product *= self._parameters[effect.parameter].start
                continue
            (name,), polynomial = derived.inputs, derived.fn
            assert isinstance(polynomial, Polynomial)
            start = self._parameters[name].start
            product *= float(np.polyval(polynomial.coefficients, start))
        return product

    def _modifiers(self, node: Node) -> list[Node]:
        """Return the modifiers of a sample whose parameters the measurement lists."""
        return [
            modifier
            for modifier in node.listed("modifiers")
            if self._parameters[modifier.name].listed
        ]

    def _norm(self, modifier: Node) -> Scale | NormVariation:
        name = modifier.name
        if modifier.type == "normfactor":
            return Scale(name)
        if modifier.type == "vandermonde":
            coefficients = modifier.child("coeff").numbers()
            number = f"{name}#{len(self.derived)}"
            self.derived[number] = Derived(
                (name,), Polynomial(tuple(coefficients.tolist()))
            )
            return Scale(number)
        data = modifier.child("data")
        ends = [self._factor(data.child(end)) for end in ("lo", "hi")]
        return self._variation(name, *ends)

    def _variation(self, name: str, down: Any, up: Any) -> NormVariation:
        return NormVariation(name, float(down), float(up), self._code)

    def _factor(self, node: Node) -> float:
        value = node.number()
        if value <= 0:
            node.fail("a positive factor")
        return value

    def _factors(self, modifier: Node, bins: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the factors of the bins at -1 and 1, which are made positive."""
        data = modifier.child("data")
        factors = []
        for end in ("lo_data", "hi_data"):
            values = data.child(end).numbers(size=bins, owner="the sample")
            if np.any(values <= 0) and self._code == "code4":
                self._report.collect(
                    "The systematics {names} have bins with a varied yield that is not "
                    "positive. The factor of such a bin falls to 0.",
                    modifier.name,
                )
                values = np.maximum(values, LEAST_FACTOR)
            factors.append(values)
        return factors[0], factors[1]


def _relative_errors(
    node: Node, yields: Sequence[np.ndarray], strengths: Sequence[float]
) -> np.ndarray:
    """Return the errors of the sum of all templates over this sum; 0 without events.

    Args:
        node: The channel, whose samples have a ``variance``.
        yields: The yields of its samples.
        strengths: The factors of the samples at the start values.
    """
    total, variance = np.zeros(yields[0].size), np.zeros(yields[0].size)
    samples = node.child("samples").items()
    for sample, template, strength in zip(samples, yields, strengths, strict=True):
        total += strength * template
        found = sample.child("variance").numbers(size=total.size)
        variance += strength**2 * found
    positive = total > 0
    return np.where(positive, np.sqrt(variance) / np.where(positive, total, 1), 0)
