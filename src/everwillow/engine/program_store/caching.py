"""The switch of the store of programs."""

import os
import pathlib
import warnings

import jax

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow.engine.program_store.folder import cache_folder, open_folder
from everwillow.engine.program_store.store import ProgramStore


_active: list[ProgramStore] = [ProgramStore(None)]


def active() -> ProgramStore:
    """Return the store in use."""
    return _active[0]


def use(store: ProgramStore) -> None:
    """Use a store from now on."""
    _active[0] = store


def cache(where: bool | str | os.PathLike[str] = True) -> pathlib.Path | None:  # noqa: FBT001, FBT002
    """Keep compiled programs on disk, so that the next process need not compile them.

    The folder keeps machine code for the structures of models, with the names of their
    parameters, but neither data nor results. A fit, a limit or a scan of a model of
    everwillow (workspaces, template fits, density ratios, scale and smearing) is then
    neither traced nor compiled in the next process; these programs take 300 MB at most,
    the oldest go first. For likelihoods that are functions of yours, the cache of JAX
    in the same folder saves the compilation, but not the tracing: the code of a
    function may change, so its program is recognised only after tracing.

    Programs are found by the versions of all packages and by the structure of the
    model; numbers are arguments. The cache is off by default, and this function
    switches it for the whole process. It sets ``jax_compilation_cache_dir``.

    Args:
        where: True for the folder of the user, ``~/.cache/everwillow`` on Linux (the
            commands use the same); a folder, which is made if necessary; False to
            switch the cache off.

    Returns:
        The folder for this machine inside of it; None if the cache is off.

    Raises:
        ArgumentTypeError: If `where` is neither a truth value nor a path.
        ArgumentValueError: If the folder cannot be made, or other users may write to
            it: its files are executed.

    Example:
        >>> import tempfile
        >>> import everwillow as ew
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     inside = ew.cache(folder)
        ...     ew.cache(False)
        >>> inside.parent.name == folder.rpartition("/")[-1]
        True
    """
    if not isinstance(where, bool | str | os.PathLike):
        raise ArgumentTypeError(
            f"cache: expected True, False or a folder, got {type(where).__name__}."
        )
    if where is False:
        use(ProgramStore(None))
        jax.config.update("jax_compilation_cache_dir", None)
        return None
    base = cache_folder() if where is True else pathlib.Path(where)
    folder = open_folder(base)
    if folder is None:
        raise ArgumentValueError(
            f"cache: the folder {str(base)!r} cannot be used: it cannot be made, or "
            "other users may write to it, and its files are executed. Name a folder "
            "of your own."
        )
    keep_in(folder, brief=False)
    return folder


def keep_in(folder: pathlib.Path, *, brief: bool) -> None:
    """Keep programs in a folder of this machine, those of JAX too.

    Args:
        folder: The folder.
        brief: As in `ProgramStore`.
    """
    jax.config.update("jax_compilation_cache_dir", str(folder / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # A full disk makes the next run slower, and does not affect the results.
    warnings.filterwarnings("ignore", message=".*persistent compilation cache.*")
    use(ProgramStore(folder / "programs", brief=brief))
