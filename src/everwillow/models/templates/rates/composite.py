"""Products of parameter models."""

from collections.abc import Sequence
from typing import final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from everwillow._errors import ConflictError, ShapeMismatchError
from everwillow.likelihood.histograms import Layout
from everwillow.models.templates.rates.base import (
    AbstractParameterModel,
    AbstractStoredModel,
    ParameterTable,
    RateParameter,
    Rates,
    Values,
    rates_of,
)


@final
class Composite(AbstractStoredModel):
    """The product of several models.

    Models with equal definitions of a parameter of the same name share it.

    Args:
        layout: The channels and processes of all models.
        models: The models.

    Raises:
        ConflictError: If the definitions of a parameter of the same name differ.
        ShapeMismatchError: If a model has other channels or processes.

    Example:
        >>> from everwillow.likelihood.histograms import Channel
        >>> from everwillow.models.templates.rates import (
        ...     SharedStrengths,
        ...     Strengths,
        ... )
        >>> layout = Layout((Channel("ch0", ()),), ("ggH", "VBF"))
        >>> common = SharedStrengths(layout, {"mu": ["ggH", "VBF"]})
        >>> model = Composite(layout, [common, Strengths(layout, "VBF")])
        >>> model.rates({"mu": 2.0, "VBF": 0.5})
        Array([[2.],
               [1.]], dtype=float64)
    """

    models: tuple[AbstractParameterModel, ...]
    places: tuple[Int[Array | np.ndarray, " parameters"], ...]

    def __init__(
        self, layout: Layout, models: Sequence[AbstractParameterModel]
    ) -> None:
        known: dict[str, RateParameter] = {}
        for model in models:
            if model.layout != layout:
                raise ShapeMismatchError(
                    f"Composite: {type(model).__name__} was made for other channels or "
                    "processes. Make all models with one layout, after the last "
                    "channel and process are booked."
                )
            for name, parameter in model.parameters().items():
                if known.setdefault(name, parameter) != parameter:
                    raise ConflictError(
                        f"Composite: two models define {name!r}, as {known[name]} and "
                        f"as {parameter}. Rename one, or make them equal to share it."
                    )
        order = {name: place for place, name in enumerate(known)}
        self.layout = layout
        self.table = ParameterTable(known)
        self.models = tuple(models)
        self.places = tuple(
            np.array([order[name] for name in model.parameters()], np.int32)
            for model in models
        )

    def vector_rates(self, values: Values) -> Rates:
        """Return the product of all rates."""
        product = jnp.ones((len(self.layout.processes), self.layout.bins), values.dtype)
        for model, place in zip(self.models, self.places, strict=True):
            product = product * rates_of(model, values[place])
        return product
