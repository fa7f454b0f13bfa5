"""The nominal yields that some parameter models need."""

import numpy as np
from jaxtyping import Float

from everwillow.likelihood.templates.spec import TemplateSpec


def nominal_yields(spec: TemplateSpec) -> Float[np.ndarray, "processes bins"]:
    """Return the nominal yield of each process in each bin of all channels.

    Args:
        spec: What a builder says, ``builder.spec()``.

    Example:
        >>> from everwillow.models.templates.booking.builder import TemplateBuilder
        >>> builder = TemplateBuilder()
        >>> builder.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
        >>> builder.add_process([3.0, 0.0], "fakes", "ch0")
        >>> nominal_yields(builder.spec())
        array([[3., 0.]])
    """
    out = np.zeros((len(spec.layout.processes), spec.layout.bins))
    rows = spec.templates
    out[rows.process, rows.bin] = rows.nominal
    return out


__all__ = ["nominal_yields"]
