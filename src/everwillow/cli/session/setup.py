"""JAX for one short run."""

import gc
import os


def prepare() -> None:
    """Set what has to be set before NumPy and JAX are imported."""
    # The threads of OpenBLAS and of XLA compete for the cores: a fit of 100 parameters
    # takes a hundred times longer when they do, and its matrices need one thread.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Importing and tracing make millions of objects and nearly no garbage.
    gc.set_threshold(200_000, 50, 50)


def start(*, cache: bool) -> None:
    """Import JAX, switch on double precision, and keep the programs.

    Args:
        cache: Whether the options of the command leave the cache switched on.
    """
    import jax  # noqa: PLC0415

    from everwillow.engine.program_store import ProgramStore, keep_in, use  # noqa: PLC0415
    from everwillow.engine.program_store.folder import is_enabled, open_folder  # noqa: PLC0415

    jax.config.update("jax_enable_x64", True)
    folder = open_folder() if cache and is_enabled() else None
    if folder is None:
        use(ProgramStore(None, brief=True))
    else:
        keep_in(folder, brief=True)
