"""What tests of every module need: comparison, finite differences, trace counts."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.monitoring
import jax.tree_util as jtu
import numpy as np
from jax.flatten_util import ravel_pytree


# The error of the four-point stencil below is least near eps^(1/5) times the scale.
_STEP = math.pow(np.finfo(np.float64).eps, 0.2)
_TRACE_EVENT = "/jax/core/compile/jaxpr_trace_duration"
_COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"


def tree_allclose(
    actual: Any, expected: Any, *, rtol: float = 1e-7, atol: float = 0.0
) -> bool:
    """Say whether two pytrees have one structure, the same shapes and close leaves.

    Dtypes have to be of one kind (bool, integer, float). NaN equals NaN.
    """
    if jtu.tree_structure(actual) != jtu.tree_structure(expected):
        return False
    pairs = zip(jtu.tree_leaves(actual), jtu.tree_leaves(expected), strict=True)
    return all(_leaf_allclose(a, b, rtol=rtol, atol=atol) for a, b in pairs)


def _leaf_allclose(actual: Any, expected: Any, *, rtol: float, atol: float) -> bool:
    a, b = np.asarray(actual), np.asarray(expected)
    if a.shape != b.shape or a.dtype.kind != b.dtype.kind:
        return False
    if a.dtype.kind not in "fc":
        return bool(np.array_equal(a, b))
    return bool(np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True))


def finite_difference_jacobian(
    fn: Callable[[Any], Any], x: Any, *, step: float | None = None
) -> np.ndarray:
    """Differentiate `fn` at `x` by the central four-point stencil.

    Args:
        fn: From a pytree like `x` to an array or a pytree of arrays.
        x: Any pytree of floating-point arrays.
        step: Distance relative to ``max(1, |x|)``; the default suits functions that
            vary on the scale of `x` and gives ten to twelve digits.

    Returns:
        The derivatives, shape ``(outputs, inputs)``, both sides ravelled.
    """
    flat, unravel = ravel_pytree(x)
    start = np.asarray(flat, dtype=np.float64)
    relative = _STEP if step is None else step

    def value(point: np.ndarray) -> np.ndarray:
        out = fn(unravel(jax.numpy.asarray(point, dtype=flat.dtype)))
        return np.asarray(ravel_pytree(out)[0], dtype=np.float64)

    columns = []
    for i in range(start.size):
        h = relative * max(1.0, abs(start[i]))
        unit = np.zeros_like(start)
        unit[i] = h
        near = value(start + unit) - value(start - unit)
        far = value(start + 2 * unit) - value(start - 2 * unit)
        columns.append((8 * near - far) / (12 * h))
    return np.stack(columns, axis=-1)


def finite_difference_gradient(
    fn: Callable[[Any], Any], x: Any, *, step: float | None = None
) -> Any:
    """Differentiate the scalar function `fn` at `x`; a pytree like `x` comes back."""
    jacobian = finite_difference_jacobian(fn, x, step=step)
    if jacobian.shape[0] != 1:
        message = f"fn has to return one number, not {jacobian.shape[0]}"
        raise ValueError(message)
    flat, unravel = ravel_pytree(x)
    return unravel(jax.numpy.asarray(jacobian[0], dtype=flat.dtype))


class TraceCounter:
    """A function that counts how often Python calls it.

    JAX calls a function when it traces it and not when it runs what was compiled, so
    the count of a likelihood is the number of times that a fit traced it.

    Attributes:
        calls: The number of calls so far.
    """

    calls: int

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.calls = 0
        self._fn = fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self._fn(*args, **kwargs)


@contextlib.contextmanager
def assert_no_retrace(*counters: TraceCounter) -> Iterator[None]:
    """Fail if one of the `counters` is called inside the block."""
    before = [counter.calls for counter in counters]
    yield
    extra = [c.calls - n for c, n in zip(counters, before, strict=True)]
    assert not any(extra), f"traced again, {extra} more calls of the counters"


@dataclasses.dataclass
class JaxWork:
    """What JAX did inside a `count_jax_work` block.

    Attributes:
        traces: Number of functions traced.
        compilations: Number of programs compiled.
    """

    traces: int = 0
    compilations: int = 0


# One listener for the whole run: old versions of JAX cannot take one back.
_listening: list[JaxWork] = []


def _listen(event: str, duration: float, **kwargs: Any) -> None:
    del duration, kwargs
    for work in _listening:
        work.traces += event == _TRACE_EVENT
        work.compilations += event == _COMPILE_EVENT


jax.monitoring.register_event_duration_secs_listener(_listen)


@contextlib.contextmanager
def count_jax_work() -> Iterator[JaxWork]:
    """Count all traces and compilations of JAX inside the block, whoever asks for them.

    Unlike a `TraceCounter` this also sees helper functions that are traced anew while
    the likelihood is not.
    """
    work = JaxWork()
    _listening.append(work)
    try:
        yield work
    finally:
        # By identity: two blocks that counted the same are equal.
        _listening[:] = [other for other in _listening if other is not work]
