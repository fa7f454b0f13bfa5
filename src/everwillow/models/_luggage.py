"""What travels with a model without being part of its structure."""

from typing import Any, final


@final
class Luggage:
    """Something that travels with a model and is no part of its structure.

    Any two are equal, so that models that differ in it share a compiled program.

    Attributes:
        content: The thing.
    """

    __slots__ = ("content",)

    def __init__(self, content: Any) -> None:
        self.content = content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Luggage)

    def __hash__(self) -> int:
        return hash(Luggage)
