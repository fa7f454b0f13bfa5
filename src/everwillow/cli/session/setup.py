"""JAX for one short run, and the folder that keeps compiled programs between runs."""

import gc
import hashlib
import os
import pathlib
import platform
import stat
import sys
import warnings
from collections.abc import Mapping


def prepare() -> None:
    """Set what has to be set before NumPy and JAX are imported."""
    # The threads of OpenBLAS and of XLA compete for the cores: a fit of 100 parameters
    # takes a hundred times longer when they do, and its matrices need one thread.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Importing and tracing make millions of objects and nearly no garbage.
    gc.set_threshold(200_000, 50, 50)


def start(*, cache: bool) -> pathlib.Path | None:
    """Import JAX, and switch on double precision and the cache.

    Args:
        cache: Whether the options of the command leave the cache switched on.

    Returns:
        The folder of compiled programs; None if there is no cache.
    """
    import jax  # noqa: PLC0415

    jax.config.update("jax_enable_x64", True)
    folder = open_folder() if cache and is_enabled() else None
    if folder is None:
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # A full disk makes the next run slower, and does not affect the results.
    warnings.filterwarnings("ignore", message=".*persistent compilation cache.*")
    return folder


SWITCH = "EVERWILLOW_CACHE"
_OFF = ("0", "false", "no", "off")


def cache_folder(
    environment: Mapping[str, str] = os.environ, system: str = sys.platform
) -> pathlib.Path:
    """Return the cache folder of the user, by the convention of the system.

    Args:
        environment: Variables, such as ``XDG_CACHE_HOME`` and ``LOCALAPPDATA``.
        system: As `sys.platform`.
    """
    home = pathlib.Path(environment.get("HOME") or pathlib.Path.home())
    if system == "darwin":
        base = home / "Library" / "Caches"
    elif system == "win32":
        local = environment.get("LOCALAPPDATA")
        base = pathlib.Path(local) if local else home / "AppData" / "Local"
    else:
        base = pathlib.Path(environment.get("XDG_CACHE_HOME", ""))
        # The convention is to ignore relative paths.
        base = base if base.is_absolute() else home / ".cache"
    return base / "everwillow"


def is_enabled(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the environment does not switch the cache off."""
    return environment.get(SWITCH, "1").strip().lower() not in _OFF


def open_folder() -> pathlib.Path | None:
    """Make the folder for programs of this machine, or return None if that fails.

    Programs are compiled for one processor, and several machines may share a home
    folder. Its files are executed, so a folder that other users may write to is not
    used.
    """
    folder = cache_folder() / _machine()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
    except OSError:
        return None
    if os.name == "posix":
        shared = state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if state.st_uid != os.getuid() or shared:
            return None
    return folder


def _machine() -> str:
    """Return a name that is equal for processors that run the same programs."""
    text = f"{platform.machine()} {sys.platform}"
    try:
        known = pathlib.Path("/proc/cpuinfo").read_text("utf-8", "replace")
        for line in known.partition("\n\n")[0].splitlines():
            if line.startswith(("flags", "Features", "model name")):
                text += line
    except OSError:
        text += platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
