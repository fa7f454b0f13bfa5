"""What stands in a loaded record for things that no file can hold."""

from typing import Any, NoReturn

import equinox as eqx

from everwillow._errors import ArgumentTypeError
from everwillow._typing import ArrayLike, Key


class NotStored(eqx.Module):
    """The place of something that was not written: a function, a solver's own output.

    It has no leaves, so a record that has one still goes through `jax.jit`.

    Attributes:
        what: Its name, for people.

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
    """What is left of a constraint whose class is not one of everwillow's.

    Enough for pulls; it has no density.

    Attributes:
        what: The class it had.
        keys: Keys of the parameters it constrains together; None if only one.
        aux: The nominal auxiliary observation.
        center: The value of the parameter that `aux` prefers.
        width: The error that `aux` alone gives to the parameter.

    Example:
        >>> ConstraintSummary("analysis.Flat", None, 0.0, 0.0, 1.0).width
        1.0
    """

    what: str = eqx.field(static=True)
    keys: tuple[Key, ...] | None = eqx.field(static=True)
    aux: ArrayLike
    center: ArrayLike
    width: ArrayLike
