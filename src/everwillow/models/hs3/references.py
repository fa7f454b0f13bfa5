"""The parameters on which a part of a document depends, without evaluating it."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from everwillow.models._document import Node
from everwillow.models.hs3.document import Document


_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_LABELS = ("name", "type", "interpolation", "constraint", "constraint_name")


def modifier_names(distribution: Node) -> Iterator[str]:
    """Yield the names in the modifiers of a histfactory distribution."""
    samples = distribution.value.get("samples")
    for sample in samples if isinstance(samples, list) else []:
        modifiers = sample.get("modifiers") if isinstance(sample, dict) else None
        for modifier in modifiers if isinstance(modifiers, list) else []:
            if isinstance(modifier, dict):
                for key in ("parameter", "parameters", "name"):
                    yield from _texts(modifier.get(key))


def dependencies(
    names: Iterable[str],
    document: Document,
    *,
    without: Iterable[str] = (),
    variates: bool = False,
) -> set[str]:
    """Return the names, and all names that functions and distributions of them use.

    Args:
        names: Names of parameters, functions or distributions.
        document: The document with the definitions.
        without: Names of distributions to skip.
        variates: Whether to include the variate `x` of distributions, which may be
            the observed quantity.
    """
    stops = set(without)
    reached: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        for nodes in (document.functions, document.distributions):
            node = nodes.get(name)
            if node is None or not isinstance(node.value, dict) or name in stops:
                continue
            if node.value.get("type") == "histfactory_dist":
                waiting.extend(modifier_names(node))
            else:
                own = nodes is document.distributions
                observed = "x" if own and not variates else None
                waiting.extend(_used(node.value, observed))
    return reached


def _used(entry: dict[str, Any], observed: str | None) -> Iterator[str]:
    for key, value in entry.items():
        if key in _LABELS or key == observed:
            continue
        if key == "expression" and isinstance(value, str):
            yield from _WORD.findall(value)
        else:
            yield from _texts(value)


def _texts(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            waiting.extend(item.values())
