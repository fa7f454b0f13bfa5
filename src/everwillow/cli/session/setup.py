"""What a command needs before it computes: JAX, set up for one short run."""

import gc
import os
import pathlib
import warnings


def prepare() -> None:
    """Set what has to be set before NumPy and JAX are imported."""
    # The threads of OpenBLAS and of XLA fight over the cores: a fit of 100 parameters
    # takes a hundred times longer when they do, and its matrices need one thread.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Importing and tracing make millions of objects and nearly no garbage.
    gc.set_threshold(200_000, 50, 50)


def start(*, cache: bool) -> pathlib.Path | None:
    """Import JAX, switch on double precision and the cache.

    Args:
        cache: Whether the user wants the cache.

    Returns:
        The folder of compiled programs; None if there is no cache.
    """
    prepare()
    import jax  # noqa: PLC0415

    from everwillow.cli.session.cache import is_wanted, open_folder  # noqa: PLC0415

    jax.config.update("jax_enable_x64", True)
    folder = open_folder() if cache and is_wanted() else None
    if folder is None:
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # A full disk costs time, and is no reason to stop or to worry.
    warnings.filterwarnings("ignore", message=".*persistent compilation cache.*")
    return folder
