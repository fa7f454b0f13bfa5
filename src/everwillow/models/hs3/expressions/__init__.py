"""The expression language of HS3: its grammar, syntax tree and evaluation."""

from everwillow._lazy_names import listed_names
from everwillow.models.hs3.expressions.expression import Expression


__dir__ = listed_names(globals())

__all__ = ["Expression"]
