"""The expression language of HS3: its grammar, syntax tree and evaluation."""

from everwillow.models.hs3.expressions.expression import Expression


__all__ = ["Expression"]
