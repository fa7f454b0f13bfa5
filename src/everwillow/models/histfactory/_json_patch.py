"""JSON patches (RFC 6902) and the pointers in them (RFC 6901)."""

import re
from collections.abc import Sequence
from typing import Any

from everwillow._errors import SpecificationError, nearest
from everwillow.models._document import Node, described, shortened
from everwillow.models.histfactory._checks import check_keys
from everwillow.models.json_source import copied


Operation = dict[str, Any]

_NEEDED = {
    "add": ("path", "value"),
    "remove": ("path",),
    "replace": ("path", "value"),
    "move": ("from", "path"),
    "copy": ("from", "path"),
    "test": ("path", "value"),
}
_INDEX = re.compile(r"0|[1-9][0-9]{0,17}")


def check_operations(node: Node) -> list[Operation]:
    """Check that a document is a list of operations.

    Raises:
        SpecificationError: If it is not a list of operations, or one is incomplete.
    """
    if not isinstance(node.value, list | tuple):
        raise node.fault("a list of operations (a JSON patch)")
    for index, operation in enumerate(node.value):
        entry = Node(operation, node, index)
        if not isinstance(operation, dict):
            raise entry.fault("an operation, an object with the key 'op'")
        kind = operation.get("op")
        if not isinstance(kind, str) or kind not in _NEEDED:
            mend = f"The operations are {', '.join(_NEEDED)}."
            raise entry.at("op").fault("the name of an operation", mend=mend)
        # Other members are ignored (RFC 6902, section 4).
        check_keys(entry, ("op", *_NEEDED[kind]), operation)
        for key in ("path", "from"):
            if key in _NEEDED[kind]:
                _tokens(entry.at(key))
    return list(node.value)


def patched(document: Any, operations: Sequence[Operation], *, name: str) -> Any:
    """Return a document with operations applied, which shares unchanged containers.

    Args:
        document: A JSON document, which is not changed.
        operations: Checked by `check_operations`.
        name: The name of the patch, for messages.

    Raises:
        SpecificationError: If an operation has no place in the document, or a test
            fails.
    """
    tree = _Tree(document)
    for index, operation in enumerate(operations):
        try:
            _apply(tree, operation)
        except SpecificationError as error:
            action = f"{operation['op']} {shortened(operation['path'])}"
            raise SpecificationError(
                f"{name}: operation {index} ({action}): {error}", error.pointer
            ) from None
    return tree.root


def _apply(tree: "_Tree", operation: Operation) -> None:
    kind = operation["op"]
    path = _tokens(Node(operation["path"]))
    if kind == "test":
        target = tree.find(path)
        if not _equal(target.value, operation["value"]):
            raise target.fault(
                f"{described(operation['value'])}, which the patch tests for",
                mend="The patch is made for other contents.",
            )
    elif kind == "add":
        tree.add(path, operation["value"])
    elif kind == "replace":
        tree.replace(path, operation["value"])
    elif kind == "remove":
        tree.remove(path)
    else:
        source = _tokens(Node(operation["from"]))
        value = tree.find(source).value
        if kind == "copy":
            tree.add(path, copied(value))
        elif path != source:
            if path[: len(source)] == source:
                raise (
                    Node(tree.root)
                    .at(*path)
                    .fault("a place outside of what is moved", "one inside")
                )
            tree.remove(source)
            tree.add(path, value)


def _tokens(node: Node) -> tuple[str, ...]:
    pointer = node.value
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        mend = "A JSON pointer is empty or begins with a slash."
        raise node.fault("a JSON pointer", mend=mend)
    return tuple(
        token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]
    )


class _Tree:
    """A document whose containers are copied when they are changed."""

    def __init__(self, root: Any) -> None:
        self.root = root
        # Containers by id; the values keep them alive, so that ids are unique.
        self._own: dict[int, Any] = {}

    def find(self, path: tuple[str, ...]) -> Node:
        """Return the node at an existing place."""
        node = Node(self.root)
        for token in path:
            key = _key(node, token)
            node = Node(node.value[key], node, token)
        return node

    def _owned(self, container: Any) -> Any:
        if not isinstance(container, dict | list) or id(container) in self._own:
            return container
        made = container.copy() if isinstance(container, list) else dict(container)
        self._own[id(made)] = made
        return made

    def _parent(self, path: tuple[str, ...]) -> Node:
        """Return the container of a place as a copy that may be changed."""
        self.root = self._owned(self.root)
        node = Node(self.root)
        for token in path[:-1]:
            key = _key(node, token)
            node.value[key] = self._owned(node.value[key])
            node = Node(node.value[key], node, token)
        return node

    def add(self, path: tuple[str, ...], value: Any) -> None:
        """Insert a value at a place; in a list before the present element."""
        if not path:
            self.root = value
            return
        parent = self._parent(path)
        if isinstance(parent.value, dict):
            parent.value[path[-1]] = value
        elif isinstance(parent.value, list) and path[-1] == "-":
            parent.value.append(value)
        else:
            parent.value.insert(_key(parent, path[-1], beyond=1), value)

    def replace(self, path: tuple[str, ...], value: Any) -> None:
        """Replace the value at a place."""
        if not path:
            self.root = value
            return
        parent = self._parent(path)
        parent.value[_key(parent, path[-1])] = value

    def remove(self, path: tuple[str, ...]) -> None:
        """Remove the value at a place."""
        if not path:
            raise Node(self.root).fault("a place inside the document", "all of it")
        parent = self._parent(path)
        del parent.value[_key(parent, path[-1])]


def _key(node: Node, token: str, *, beyond: int = 0) -> Any:
    """Return the key or index of an existing entry."""
    container, place = node.value, Node(token, node, token)
    if isinstance(container, dict):
        if token not in container:
            known = [key for key in container if isinstance(key, str)]
            mend = nearest(token, known).strip()
            raise place.fault("something there", "nothing", mend)
        return token
    if not isinstance(container, list):
        raise node.fault(f"an object or list to hold {token!r}")
    if not _INDEX.fullmatch(token):
        raise place.fault("the index of an entry of a list")
    index = int(token)
    if index >= len(container) + beyond:
        raise place.fault(f"one of {len(container)} entries", f"entry {index}")
    return index


def _equal(one: Any, other: Any) -> bool:
    """Return whether two documents are equal (RFC 6902, section 4.6)."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return (type(one) is type(other) and one == other) or _equal_numbers(one, other)


def _equal_numbers(one: Any, other: Any) -> bool:
    return (
        isinstance(one, int | float) and isinstance(other, int | float) and one == other
    )
