"""YAML documents: plain values, each with the line that it comes from."""

import dataclasses
import functools as ft
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from everwillow._errors import MissingFileError, SpecificationError, missing_package
from everwillow.models.faults import Faults


_MERGE = "tag:yaml.org,2002:merge"
_PLAIN = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
# YAML 1.1 takes 1e-3, which has no dot, for a text.
_FLOAT = re.compile(r"[-+]?(\d+|\d+\.\d*|\.\d+)[eE][-+]?\d+")


@dataclasses.dataclass(frozen=True, slots=True)
class YamlValue:
    """A value of a YAML document.

    Attributes:
        value: None, a bool, number, string or date; a list of `YamlValue`; or a dict of
            them by the text of their keys.
        line: The line of its key, or of itself in a list, from 1; 0 if it is not from a
            text.
        text: The text of a scalar as it is written; empty for lists and mappings.
    """

    value: Any
    line: int
    text: str = ""

    def plain(self) -> Any:
        r"""Return the value without lines.

        Example:
            >>> read_yaml("a: [1, 2]\nb: {c: yes}").plain()
            {'a': [1, 2], 'b': {'c': True}}
        """
        if isinstance(self.value, dict):
            return {key: entry.plain() for key, entry in self.value.items()}
        if isinstance(self.value, list):
            return [entry.plain() for entry in self.value]
        return self.value

    def lines(self) -> Iterator[tuple[str, int]]:
        """Return the keys of a mapping with their lines."""
        return ((key, entry.line) for key, entry in self.value.items())


def as_yaml(value: Any) -> YamlValue:
    """Return plain values of Python as those of a document without lines.

    Args:
        value: None, a bool, number, text, path or array; or a list, tuple or mapping of
            them.

    Example:
        >>> as_yaml({"edges": (0.0, 2.5)}).value["edges"].plain()
        [0.0, 2.5]
    """
    if isinstance(value, Mapping):
        return YamlValue({str(key): as_yaml(one) for key, one in value.items()}, 0)
    if hasattr(value, "tolist"):  # arrays and numbers of NumPy
        value = value.tolist()
    if isinstance(value, list | tuple):
        return YamlValue([as_yaml(one) for one in value], 0)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return YamlValue(value, 0, "" if value is None else str(value))


def load_yaml(path: str | os.PathLike[str], faults: Faults) -> YamlValue:
    """Read a YAML file.

    Args:
        path: The name of the file.
        faults: Gets keys that occur twice.

    Raises:
        MissingFileError: If there is no such file.
        SpecificationError: If it is not YAML, with the line.
    """
    file = pathlib.Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise MissingFileError(f"there is no file {str(file)!r}.") from error
    except IsADirectoryError as error:
        raise SpecificationError(f"{str(file)!r} is a folder, not a file.") from error
    except UnicodeDecodeError as error:
        raise SpecificationError(
            f"{file.name}: expected YAML in UTF-8, but byte {error.start} is not valid "
            "UTF-8."
        ) from error
    except OSError as error:
        raise SpecificationError(
            f"{str(file)!r} cannot be read: {error.strerror}."
        ) from error
    return read_yaml(text, faults)


def read_yaml(text: str, faults: Faults | None = None) -> YamlValue:
    r"""Read a YAML text.

    Args:
        text: The text of one document.
        faults: Gets keys that occur twice, and has the name of the document. If it is
            not given, such keys are an error.

    Raises:
        SpecificationError: If it is not YAML, with the line.

    Example:
        >>> read_yaml("a:\n- 1\n- 2").value["a"].value[1].line
        3
    """
    found = Faults("the text") if faults is None else faults
    yaml = _yaml()
    loader = None
    try:
        loader = _loader()(text)
        node = loader.get_single_node()
        value = (
            YamlValue(None, 1) if node is None else _Reader(loader, found).value(node)
        )
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = error.problem or error.context
        raise SpecificationError(
            f"{found.where(line)}: this is not YAML: {problem}."
        ) from error
    except (yaml.YAMLError, RecursionError) as error:
        reason = getattr(error, "reason", "") or "it is nested too deep"
        raise SpecificationError(
            f"{found.document}: this is not YAML: {reason}."
        ) from error
    finally:
        if loader is not None:
            loader.dispose()
    if faults is None:
        found.check()
    return value


def dump_yaml(value: Any) -> str:
    r"""Return plain values as a YAML text, with keys in their order.

    Args:
        value: As for `as_yaml`.

    Example:
        >>> dump_yaml({"edges": (0.0, float("inf")), "name": "a"})
        'edges: [0.0, .inf]\nname: a\n'
    """
    return _yaml().safe_dump(
        as_yaml(value).plain(),
        sort_keys=False,
        default_flow_style=None,
        allow_unicode=True,
    )


def _yaml() -> Any:
    # Only configurations need the parser.
    try:
        import yaml  # noqa: PLC0415
    except ImportError as error:
        raise missing_package("YAML files need PyYAML", "nsbi", "sas") from error
    return yaml


@ft.cache
def _loader() -> Any:
    yaml = _yaml()
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789")
    )
    return loader


class _Reader:
    """Converts nodes of PyYAML."""

    def __init__(self, loader: Any, faults: Faults) -> None:
        self._loader = loader
        self._faults = faults
        self._read: dict[int, YamlValue] = {}
        self._open: set[int] = set()

    def value(self, node: Any) -> YamlValue:
        known = self._read.get(id(node))  # an alias
        if known is not None:
            return known
        line = node.start_mark.line + 1
        if id(node) in self._open:
            raise SpecificationError(
                f"{self._faults.where(line)}: the anchor contains an alias of itself."
            )
        if not isinstance(node.value, str) and node.tag not in _PLAIN:
            raise SpecificationError(
                f"{self._faults.where(line)}: the tag {node.tag!r} is not allowed."
            )
        self._open.add(id(node))
        if isinstance(node.value, str):
            scalar = self._loader.construct_object(node, deep=True)
            value = YamlValue(scalar, line, node.value)
        elif node.id == "mapping":
            value = YamlValue(self._entries(node), line)
        else:
            value = YamlValue([self.value(one) for one in node.value], line)
        self._open.discard(id(node))
        self._read[id(node)] = value
        return value

    def _entries(self, node: Any) -> dict[str, YamlValue]:
        own: dict[str, YamlValue] = {}
        merged: dict[str, YamlValue] = {}
        for key, entry in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key.value, str):
                self._faults.add(line, "a key must be a text or a number.")
                continue
            value = self.value(entry)
            if key.tag == _MERGE:
                several = value.value if isinstance(value.value, list) else [value]
                for one in several:
                    if isinstance(one.value, dict):
                        merged = {**one.value, **merged}
                    else:
                        self._faults.add(line, "'<<' must name a mapping.")
                continue
            if key.value in own:
                first = own[key.value].line
                self._faults.add(
                    line, f"the key {key.value!r} is in line {first} too. Remove one."
                )
            own[key.value] = dataclasses.replace(value, line=line)
        return {**merged, **own}
