"""The folder of compiled programs: where it is, and whether it is safe to use."""

import hashlib
import os
import pathlib
import platform
import stat
import sys
from collections.abc import Mapping


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


def open_folder(base: pathlib.Path | None = None) -> pathlib.Path | None:
    """Make the folder for programs of this machine, or return None if that fails.

    Programs are compiled for one processor, and several machines may share a home
    folder. Its files are executed, so a folder that other users may write to is not
    used.

    Args:
        base: The folder that has a folder for each machine; by default that of the
            user.
    """
    folder = (cache_folder() if base is None else base) / _machine()
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
