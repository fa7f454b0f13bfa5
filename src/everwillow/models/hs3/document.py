"""Reading of an HS3 document into its top-level components.

Spec: HS3 0.2, chapter 2 (top-level components).
"""

from dataclasses import dataclass
from typing import Any

from everwillow.models._document import Node, Report
from everwillow.models.json_source import document_kind, load_json, source_name


_LISTS = (
    "distributions",
    "functions",
    "data",
    "likelihoods",
    "domains",
    "parameter_points",
    "analyses",
)
_OTHER = ("metadata", "misc")
_ROOT_TOOL = ("root", "roofit", "rootroofit")


@dataclass(frozen=True)
class Document:
    """The named entries of each top-level component, not yet interpreted.

    Attributes:
        root: The whole document.
        version: The HS3 version in its metadata.
        tools: Names of the packages that made it, in lower case.
        report: The report of normalisations and assumptions.
    """

    root: Node
    version: str
    tools: tuple[str, ...]
    distributions: dict[str, Node]
    functions: dict[str, Node]
    data: dict[str, Node]
    likelihoods: dict[str, Node]
    domains: dict[str, Node]
    parameter_points: dict[str, Node]
    analyses: dict[str, Node]
    report: Report

    @property
    def from_root(self) -> bool:
        """Whether the document names ROOT as its author."""
        misc = self.root.value.get("misc")
        marked = isinstance(misc, dict) and "ROOT_internal" in misc
        return marked or any(tool in _ROOT_TOOL for tool in self.tools)


def read_document(source: Any) -> Document:
    """Read a document and check its outermost structure.

    Args:
        source: A mapping, or the path of a JSON file.

    Raises:
        EverwillowError: If it is not an HS3 document, with the place.

    Example:
        >>> document = read_document({"metadata": {"hs3_version": "0.2"}})
        >>> document.version, list(document.distributions)
        ('0.2', [])
    """
    root = read_json(source)
    if not isinstance(root.value, dict):
        root.fail("an HS3 document, which is an object")
    if document_kind(root.value) == "density ratios":
        root.refuse(
            "this is a workspace of density ratios, not an HS3 document. Load it with "
            "everwillow.models.nsbi.load."
        )
    if "channels" in root and "distributions" not in root:
        root.refuse(
            "this is a pyhf workspace, not an HS3 document. Load it with "
            "everwillow.models.histfactory.from_pyhf, or convert it with "
            "everwillow.models.hs3.pyhf_to_hs3."
        )
    if not any(key in root for key in _LISTS) and "metadata" not in root:
        root.refuse(
            "this is not an HS3 document: it has none of the entries "
            + ", ".join(map(repr, _LISTS))
            + "."
        )
    report = Report()
    version, tools = _metadata(root, report)
    for key in root.value:
        if key not in _LISTS and key not in _OTHER:
            report.collect("The top-level entries {names} are not part of HS3.", key)
    parts = {key: _named(root, key, report) for key in _LISTS}
    return Document(root, version, tools, report=report, **parts)


def read_json(source: Any) -> Node:
    """Return the root of a document: a mapping, JSON text or a file, gzipped or not."""
    return Node(load_json(source), source_name(source))


def _metadata(root: Node, report: Report) -> tuple[str, tuple[str, ...]]:
    metadata = root.get("metadata")
    if metadata is None:
        report.say("There is no 'metadata': HS3 0.2 is assumed.")
        return "0.2", ()
    version = metadata.get("hs3_version")
    if version is None:
        report.say("'metadata' has no 'hs3_version': 0.2 is assumed.")
        text = "0.2"
    else:
        text = str(version.value)
        if not text.lstrip("v").startswith("0.2"):
            report.say(f"The document follows HS3 {text[:20]}; it is read as 0.2.")
    packages = metadata.get("packages")
    tools = []
    if packages is not None and isinstance(packages.value, list):
        for package in packages.items():
            entry = package.value
            name = entry.get("name") if isinstance(entry, dict) else entry
            tools.append(str(name).lower())
    return text, tuple(tools)


def _named(root: Node, key: str, report: Report) -> dict[str, Node]:
    part = root.get(key)
    if part is None:
        return {}
    if isinstance(part.value, dict):
        report.collect("{names}: an object keyed by names is read as a list.", key)
        nodes = {}
        for name, value in part.value.items():
            node = Node(value, part, name)
            if not isinstance(value, dict):
                node.fail("an object")
            nodes[name] = Node({"name": name, **value}, part, name)
        return nodes
    nodes = {}
    for node in part.items():
        name = node.name
        if name in nodes:
            node.refuse(
                f"the name {name!r} is also that of {nodes[name].where}. Rename "
                "one of them."
            )
        nodes[name] = node
    return nodes
