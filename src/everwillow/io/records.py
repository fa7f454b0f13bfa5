"""Placeholders in a loaded record for objects that a file cannot hold."""

from typing import Any, NoReturn

import equinox as eqx

from everwillow._errors import ArgumentTypeError
from everwillow._typing import ArrayLike, Key


class NotStored(eqx.Module):
    """Placeholder for an object that was not written: a function, or solver output.

    It has no leaves, so a record that contains one may be an argument under `jax.jit`.

    Attributes:
        what: The name of the object.

    Example:
        >>> NotStored("analysis.nll")
        NotStored(what='analysis.nll')
    """

    what: str = eqx.field(static=True)

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: there is nothing to call."""
        del args, kwargs
        raise ArgumentTypeError(
            f"{self.what}: this record comes from a file, which holds no code. Take "
            "the function from where it is defined."
        )


class ConstraintSummary(eqx.Module):
    """The numbers of a constraint whose class is not one of everwillow's.

    They are sufficient for pulls; a density is missing.

    Attributes:
        what: The class of the constraint.
        keys: Keys of the parameters that it constrains together; None for a single one.
        aux: The nominal auxiliary observation.
        center: The value of the parameter that `aux` prefers.
        width: The error of the parameter from `aux` alone.

    Example:
        >>> ConstraintSummary("analysis.Flat", None, 0.0, 0.0, 1.0).width
        1.0
    """

    what: str = eqx.field(static=True)
    keys: tuple[Key, ...] | None = eqx.field(static=True)
    aux: ArrayLike
    center: ArrayLike
    width: ArrayLike
