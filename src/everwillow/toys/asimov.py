"""The Asimov data set: the expected data at given parameters, without fluctuations."""

from collections.abc import Callable
from typing import Any

from everwillow._captures import up_to_date
from everwillow._errors import ArgumentValueError, ShapeMismatchError
from everwillow._native import native, native_tree
from everwillow._tree import can_replace, format_shapes
from everwillow.fitting import FitResult
from everwillow.model import AbstractModel
from everwillow.statelib import State


def asimov_data(
    nll_fn: Any,
    params: State | FitResult,
    *,
    predict_fn: Callable[[State], Any] | None = None,
) -> Any:
    """Return the Asimov data: the expected data at given parameters.

    For a Model the auxiliary data are the values expected at the parameters, too, so
    that the fit of the Asimov data has its minimum exactly at `params`.

    Args:
        nll_fn: A Model, or any function if `predict_fn` is given.
        params: The parameters.
        predict_fn: From a State to the expected observation; None for the expectation
            of the Model.

    Raises:
        ArgumentValueError: If there is neither a Model nor a `predict_fn`.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.toys import asimov_data
        >>> state = ew.State.from_pytree({"rate": 7.0})
        >>> asimov_data(None, state, predict_fn=lambda s: 2 * s["rate"])
        14.0
    """
    at: Any = native_params(params)
    if predict_fn is not None:
        with up_to_date(predict_fn):
            return predict_fn(at)
    if isinstance(nll_fn, AbstractModel):
        with up_to_date(nll_fn):
            return nll_fn.asimov(at)
    raise ArgumentValueError(
        "asimov: a likelihood alone does not tell what it expects. Give "
        "predict_fn(state), which returns the expected observation, or use a Model."
    )


def native_params(params: Any) -> Any:
    """Return parameters, or those of a FitResult, as native JAX arrays."""
    params = params.params if isinstance(params, FitResult) else params
    if isinstance(params, State):
        values = [native(value, f"params[{key!r}]") for key, value in params.items()]
        return params.with_values(values)
    return native_tree(params, "params")


def check_made(made: Any, data: Any, where: str) -> None:
    """Check that data that were made can take the place of the observation.

    Other shapes could be broadcast, and the result would be wrong without an error.

    Args:
        made: Asimov data or a toy.
        data: The observation.
        where: The argument that made them, for messages.

    Raises:
        ShapeMismatchError: If an entry is missing, or shapes differ by more than the
            number of events.
    """
    if not can_replace(data, made):
        raise ShapeMismatchError(
            f"{where}: expected data like the observation, {format_shapes(data)}, got "
            f"{format_shapes(made)}. The number of rows may differ, as that of events "
            "does, and there may be further entries of dictionaries, such as weights "
            "of the events."
        )
