"""Large arrays of events: without copies, and divided between devices."""

import math

import jax
import numpy as np
from jaxtyping import Array


# Alignment, in bytes, with which XLA uses the memory of a NumPy array as it is.
_ALIGNMENT = 64
# The numbers in a vector register of a processor.
_VECTOR = 8


def zeros(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Return an array of zeros whose memory `on_devices` can use."""
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    memory = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(kind).reshape(shape)


def on_devices(values: np.ndarray) -> Array:
    """Return an array of JAX, divided along its last axis if there are more devices.

    The array given must not be changed afterwards, since its memory is used.
    """
    devices = jax.local_devices()
    if len(devices) == 1:
        return jax.device_put(values, may_alias=True)
    mesh = jax.make_mesh(
        (len(devices),), ("events",), axis_types=(jax.sharding.AxisType.Auto,)
    )
    axes = jax.sharding.PartitionSpec(*[None] * (values.ndim - 1), "events")
    return jax.device_put(values, jax.sharding.NamedSharding(mesh, axes))


def multiple() -> int:
    """Return the number of events that chunks must have a multiple of."""
    return _VECTOR * len(jax.local_devices())
