"""LAPACK for JAX, without waiting for the rest of SciPy."""

import contextlib
import importlib
import importlib.util
import pathlib
import sys
import types


_PACKAGE = "scipy.linalg"


def ready() -> None:
    """Let JAX find LAPACK.

    JAX takes it from two extension modules inside of `scipy.linalg`, and gets ready
    when it lowers the first program that needs it. Importing that package the usual way
    takes a tenth of a second, for functions that nobody calls here; so its
    ``__init__`` is left out while JAX looks, and can be imported as ever afterwards.
    """
    import jax  # noqa: PLC0415

    with _without_init():
        shape = jax.ShapeDtypeStruct((1, 1), "float64")
        jax.jit(jax.lax.linalg.cholesky).lower(shape)


@contextlib.contextmanager
def _without_init():
    """Stand an empty package in for `scipy.linalg`."""
    if _PACKAGE in sys.modules:
        yield
        return
    known = set(sys.modules)
    # Whatever SciPy looks like in times to come: then JAX imports all of it itself.
    with contextlib.suppress(Exception):
        scipy = importlib.import_module("scipy")
        package = types.ModuleType(_PACKAGE)
        package.__path__ = [str(pathlib.Path(str(scipy.__file__)).parent / "linalg")]
        sys.modules[_PACKAGE] = package
        for name in ("cython_blas", "cython_lapack"):
            importlib.import_module(f"{_PACKAGE}.{name}")
    try:
        yield
    finally:
        for name in set(sys.modules) - known:
            if name == _PACKAGE or name.startswith(f"{_PACKAGE}."):
                del sys.modules[name]
        vars(sys.modules.get("scipy", types.ModuleType(""))).pop("linalg", None)
