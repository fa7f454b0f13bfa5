"""Models with free factors in the bins of a projection, for goodness-of-fit tests."""

import dataclasses
from typing import Any

import numpy as np

from everwillow._errors import ArgumentValueError
from everwillow.models._model_parts import separator
from everwillow.models.templates.likelihood.blinding import Hidden, elements_of
from everwillow.models.templates.model import TemplateModel
from everwillow.models.templates.rates.axes import AxisNorms
from everwillow.models.templates.rates.composite import Composite
from everwillow.parameters import Interval
from everwillow.parameters.bound_table import BoundTable
from everwillow.statelib import State


def with_free_bins(
    model: TemplateModel, channel: str, *axes: str, name: str = "free"
) -> TemplateModel:
    """Return a model in which the bins of a projection have free factors.

    The factor of a bin multiplies all processes in all bins of the channel that project
    onto it, so that the wider model describes the projection exactly. Twice the
    difference of -ln L at the best fits of both models tests the projection alone, with
    the systematics and their constraints from other bins; use
    `everwillow.goodness.nested_test`, with as many degrees of freedom as there are
    factors. If the model has free strengths of all processes, one factor is redundant:
    fit with ``throw=False``, and the test counts one degree of freedom less.

    Args:
        model: The model.
        channel: A fitted channel.
        axes: Axes to project on; without any, the channel has one factor.
        name: The prefix of the names of the factors: ``free_x0``, ``free_x1``, ...

    Raises:
        UnknownKeyError: If there is no such channel or axis.
        ArgumentValueError: If the channel is masked, or a name exists already.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.goodness import nested_test
        >>> from everwillow.models.templates import TemplateBuilder
        >>> builder = TemplateBuilder()
        >>> builder.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
        >>> builder.add_process(np.array([90.0, 90.0]), "w", "ch0", variances=None)
        >>> builder.add_norm_systematic("lumi", "w", "ch0", 1.1)
        >>> builder.add_data(np.array([106.0, 94.0]), "ch0")
        >>> model = builder.build(statistics=None)
        >>> wider = with_free_bins(model, "ch0", "x")
        >>> print(*wider.state)
        free_x0 free_x1 lumi
        >>> nested_test(ew.fit(model), ew.fit(wider)).ndof
        array(2.)
    """
    if model.layout.channel(channel).masked:
        raise ArgumentValueError(
            f"channel: {channel!r} is masked, so it has no data to be tested."
        )
    processes = model.layout.processes
    factors = AxisNorms(
        model.layout, processes, channel, axes, name=name, interest=False
    )
    added = factors.parameters()
    twice = [key for key in added if key in model.state]
    if twice:
        raise ArgumentValueError(
            f"name: the parameters {twice} exist already. Choose another name=."
        )
    starts = {**dict(model.state), **{key: each.start for key, each in added.items()}}
    state = State.from_pytree(starts, sep=separator(tuple(starts)))
    intervals = {**dict(model.bounds), **{key: Interval(0.0) for key in added}}
    shapes = {key: np.shape(value) for key, value in state.items()}
    return dataclasses.replace(
        model,
        state=state,
        bounds=BoundTable.of(intervals, shapes),
        terms=_widened(model, factors, state),
    )


def _widened(model: TemplateModel, factors: AxisNorms, state: State) -> Any:
    """Return the likelihood with the factors, in the new order of parameters."""
    terms, now = model.terms, elements_of(state)
    # The new positions of the elements of the old parameters.
    moved = np.concatenate([now[key].ravel() for key in model.state]).astype(np.int32)
    new = np.array([now[key] for key in factors.parameters()], np.int32)
    size = moved.size + new.size

    def place(old: np.ndarray) -> bytes:
        return moved[old].tobytes()

    external, hidden, free = terms.external, terms.hidden, terms.free
    if external is not None:
        external = dataclasses.replace(external, place_bytes=place(external.place))
    if free is not None:
        free = dataclasses.replace(free, place_bytes=place(free.place))
    if hidden is not None:
        factor, offset = np.ones(size), np.zeros(size)
        factor[moved], offset[moved] = hidden.factor, hidden.offset
        hidden = Hidden(factor, offset)
    return dataclasses.replace(
        terms,
        rate_model=Composite(model.layout, [terms.rate_model, factors]),
        external=external,
        size=size,
        rate_bytes=place(terms.rate_place) + new.tobytes(),
        systematic_bytes=place(terms.systematic_place),
        constrained_bytes=place(terms.constrained),
        hidden=hidden,
        free=free,
    )
