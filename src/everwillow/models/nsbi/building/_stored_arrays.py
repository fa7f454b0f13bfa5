"""Arrays that are made while a workspace is built, in files of a folder."""

import pathlib
import re

import numpy as np


class ArrayFolder:
    """A folder of .npy files, made when the first is written.

    Args:
        path: The folder.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._used: set[str] = set()

    def write(self, array: np.ndarray, *parts: str) -> str:
        """Write an array and return its absolute path.

        Args:
            array: The array.
            *parts: What it is; together the name of the file.
        """
        stem = re.sub(r"[^\w.+-]+", "_", "_".join(part for part in parts if part))
        name, count = stem, 1
        # Names that differ in other characters only, or in case on some systems.
        while name.lower() in self._used:
            count += 1
            name = f"{stem}_{count}"
        self._used.add(name.lower())
        self._path.mkdir(parents=True, exist_ok=True)
        file = self._path / f"{name}.npy"
        np.save(file, array)
        return str(file)
