"""The functions of HS3: numbers computed from other numbers of the model."""

from everwillow.models.hs3.functions.registry import (
    FUNCTIONS,
    function_from,
    read_function,
)


__all__ = ["FUNCTIONS", "function_from", "read_function"]
