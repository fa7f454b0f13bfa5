"""Files that a configuration or a document names: whether their content is here."""

import os
import pathlib
import re

from everwillow._errors import MissingFileError, SpecificationError, nearest
from everwillow._file_formats import format_of_file


def check_file(path: str | os.PathLike[str], *, where: str) -> pathlib.Path:
    """Return the path of a file whose content can be read.

    Args:
        path: The name of the file.
        where: The place that names it, for messages.

    Raises:
        MissingFileError: If there is no such file, or a link whose target is missing.
        SpecificationError: If it is a folder, cannot be read, or is the pointer that
            Git LFS leaves in place of a file that was not fetched.

    Example:
        >>> check_file("w.npy", where="region 'SR'")
        Traceback (most recent call last):
            ...
        everwillow._errors.MissingFileError: region 'SR': there is no file w.npy.
    """
    file = pathlib.Path(path)
    if file.is_symlink() and not file.exists():
        raise MissingFileError(
            f"{where}: {file} is a link to {file.readlink()}, which does not exist. "
            "Copy the file that it should point to."
        )
    if not file.exists():
        beside = file.parent.iterdir() if file.parent.is_dir() else ()
        hint = nearest(file.name, (other.name for other in beside)) or _unset(file)
        raise MissingFileError(f"{where}: there is no file {file}.{hint}")
    if file.is_dir():
        raise SpecificationError(f"{where}: {file} is a folder, not a file.")
    try:
        known = format_of_file(file)
    except OSError as error:
        raise SpecificationError(
            f"{where}: {file} cannot be read: {error.strerror}."
        ) from error
    if known == "git-lfs":
        raise SpecificationError(
            f"{where}: {file} is a Git LFS pointer, not the data. Fetch the data with "
            "`git lfs pull` in the repository that it comes from."
        )
    return file


def expanded(name: str | os.PathLike[str]) -> str:
    """Return a name with its environment variables and ``~`` replaced.

    Variables that are not set stay as they are.
    """
    return os.path.expanduser(os.path.expandvars(name))  # noqa: PTH111


def locate(
    name: str | os.PathLike[str], folder: pathlib.Path
) -> tuple[pathlib.Path, bool]:
    """Find a file that a document in a folder names.

    Args:
        name: The name of the file, which may contain environment variables and ``~``.
        folder: The folder of the document.

    Returns:
        The path, relative to the folder or, if there is no such file but one relative
        to the working directory, to that; and whether it is the latter. Files that do
        not exist are expected in the folder.
    """
    given = pathlib.Path(expanded(name))
    beside = (folder / given).absolute()
    here = given.absolute()
    if os.path.lexists(beside) or not os.path.lexists(here):
        return beside, False
    return here, True


def remote(name: str) -> str | None:
    """Return what is wrong with a name that is an address, or None if it is a path.

    Example:
        >>> remote("root://host//store/a.root")
        'root://host//store/a.root is an address, ... Copy the file (xrdcp ...'
        >>> remote("C:/store/a.root")
    """
    scheme = re.match(r"([A-Za-z][\w+.-]+)://", name)
    if scheme is None:
        return None
    tool = {"root": "xrdcp", "xroot": "xrdcp"}.get(scheme[1].lower())
    how = f" ({tool} {name} .)" if tool else ""
    return (
        f"{name} is an address, not a path, and files are not fetched. Copy the file"
        f"{how} and give the path of the copy."
    )


def _unset(file: pathlib.Path) -> str:
    """Return a hint if a path has environment variables that are not set."""
    names = re.findall(r"\$\{?(\w+)", str(file))
    unset = [name for name in names if name not in os.environ]
    return f" The environment variable {unset[0]} is not set." if unset else ""
