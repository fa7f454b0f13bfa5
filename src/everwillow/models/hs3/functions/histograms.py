"""Functions of HS3 that are constant inside of bins, as ROOT writes them."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import SpecificationError
from everwillow.models.hs3.definition import Fields, Reference
from everwillow.models.hs3.functions.base import (
    AbstractFunction,
    Binning,
    Lookup,
    read_binning,
    read_histogram,
)


@dataclass(frozen=True, slots=True)
class Histogram(AbstractFunction):
    """A number for each bin, 0 outside: RooHistFunc.

    Its contents are values of the function, so that the integral over a bin is the
    content times the volume of the bin.

    Attributes:
        binning: The bins.
        contents: The values in them.
    """

    type: ClassVar[str] = "histogram"
    binning: Binning
    contents: tuple[float, ...]

    @property
    def bins(self) -> Binning:
        """Its bins."""
        return self.binning

    def __call__(self, lookup: Lookup) -> Float[Array, "..."]:
        """Return the value."""
        index, inside = lookup.place(self.binning)
        return jnp.where(inside, jnp.asarray(self.contents)[index], 0.0)

    @classmethod
    def read(cls, fields: Fields) -> "Histogram":
        """Make one from its definition."""
        return cls(*read_histogram(fields))


@dataclass(frozen=True, slots=True)
class Step(AbstractFunction):
    """A parameter for each bin: ParamHistFunc.

    Beyond the range it has the value of the nearest bin.

    Attributes:
        binning: The bins.
        parameters: Names or numbers, the *first* variable running fastest, as ROOT
            orders them; for a single variable from the lowest bin to the highest.
    """

    type: ClassVar[str] = "step"
    binning: Binning
    parameters: tuple[Reference, ...]

    @property
    def bins(self) -> Binning:
        """Its bins."""
        return self.binning

    def __call__(self, lookup: Lookup) -> Float[Array, "..."]:
        """Return the value."""
        shape = self.binning.shape
        order = np.arange(len(self.parameters)).reshape(shape[::-1]).T.ravel()
        values = jnp.stack([lookup[self.parameters[i]] for i in order])
        return values[lookup.place(self.binning)[0]]

    @classmethod
    def read(cls, fields: Fields) -> AbstractFunction:
        """Make one from its definition; with `data` it is a histogram."""
        if fields.has("data"):
            return Histogram.read(fields)
        key = "values" if fields.has("values") else "parameters"
        parameters = fields.list_at(key)
        variables = fields.names_at("variables") if fields.has("variables") else None
        if not fields.has("axes"):
            fields.refuse(
                "it has no 'axes', so that its bins are not known; ROOT writes them "
                "from version 6.38"
            )
        binning = read_binning(fields)
        if variables is not None and set(variables) != set(binning.names):
            fields.refuse(
                f"its variables {list(variables)} are not those of its axes, "
                f"{list(binning.names)}"
            )
        if variables is not None:
            axes = dict(binning.axes)
            binning = Binning(tuple((name, axes[name]) for name in variables))
        size = int(np.prod(binning.shape))
        if len(parameters) != size:
            fields.refuse(f"{len(parameters)} {key} for {size} bins")
        return cls(binning, parameters)


@dataclass(frozen=True, slots=True)
class BinVolume(AbstractFunction):
    """The volume of the bin of a histogram, or its inverse: RooBinWidthFunction.

    Attributes:
        histogram: Name of the function with the bins.
        inverse: Whether it is the inverse.
    """

    type: ClassVar[str] = "binvolume"
    histogram: str
    inverse: bool

    def __call__(self, lookup: Lookup) -> Float[Array, "..."]:
        """Return the value."""
        function = lookup.function(self.histogram)
        binning = None if function is None else function.bins
        if binning is None:
            raise SpecificationError(
                f"functions: a binvolume needs the bins of a histogram or step, and "
                f"{self.histogram!r} has none."
            )
        volumes = 1.0 / binning.volumes if self.inverse else binning.volumes
        return jnp.asarray(volumes)[lookup.place(binning)[0]]

    @classmethod
    def read(cls, fields: Fields) -> "BinVolume":
        """Make one from its definition."""
        inverse = fields.type == "inverse_binvolume"
        divide = fields.flag("divideByBinWidth")
        histogram = fields.name_at("histogram")
        return cls(histogram, inverse if divide is None else divide)
