"""The variables and attributes that a piece of code reads."""

import dis
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Reads(NamedTuple):
    """The names that a code object, and those inside it, read.

    Attributes:
        variables: Names of global variables.
        names: All names that are read, among them those of attributes.
        filled: Variables that are only written to, as by ``log.append(...)``.
        modules: Names and levels of modules that are imported inside.
        dynamic: Whether attributes may be read without their names in the code.
        any_variable: Whether global variables may be, too.
    """

    variables: tuple[str, ...]
    names: frozenset[str]
    filled: frozenset[str]
    modules: tuple[tuple[str, int], ...]
    dynamic: bool
    any_variable: bool


_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_CELL = {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}
_ATTRIBUTE = {"LOAD_ATTR", "LOAD_METHOD"}
_STORING = {
    f"{verb}_{what}"
    for verb in ("STORE", "DELETE")
    for what in ("ATTR", "GLOBAL", "NAME")
}
_FILLING = {"append", "appendleft", "add", "extend", "insert", "update", "clear"}
_DYNAMIC = {
    "__dict__",
    "__getattribute__",
    "asdict",
    "astuple",
    "attrgetter",
    "eval",
    "exec",
    "fields",
    "getattr",
    "globals",
    "vars",
}
_ANY_VARIABLE = {"__globals__", "eval", "exec", "globals", "vars"}
_ANY_MODULE = {"__import__", "import_module", "modules"}

# A session makes more code objects than this only by generating them.
_MANY = 20_000
_found: dict[int, tuple[types.CodeType, Reads]] = {}


def reads_of(code: types.CodeType) -> Reads:
    """Return the names that a code object reads.

    Example:
        >>> log, scale = [], 2.0
        >>> def nll(p, o):
        ...     log.append(p)
        ...     return scale * o.width
        >>> reads = reads_of(nll.__code__)
        >>> reads.variables, sorted(reads.filled), "width" in reads.names
        (('log', 'scale'), ['log'], True)
    """
    known = _found.get(id(code))
    if known is not None:
        return known[1]
    if len(_found) > _MANY:
        _found.clear()
    reads = _analysed(code)
    # The code is kept alive, so that its id is not used again.
    _found[id(code)] = code, reads
    return reads


def _analysed(code: types.CodeType) -> Reads:
    variables: dict[str, None] = {}
    names: set[str] = set()
    strings: set[str] = set()
    loaded: dict[str, bool] = {}
    modules: dict[tuple[str, int], None] = {}
    dynamic = False
    for one in _codes(code):
        steps = list(dis.get_instructions(one))
        names |= _names_read(one, steps)
        strings.update(c for c in one.co_consts if isinstance(c, str))
        # Patterns name attributes in a tuple, or not at all.
        dynamic |= any(step.opname == "MATCH_CLASS" for step in steps)
        for name, is_global, only_filled in _loads(steps):
            loaded[name] = loaded.get(name, True) and only_filled
            if is_global:
                variables[name] = None
        modules.update(dict.fromkeys(_imports(steps)))
    dynamic = dynamic or not names.isdisjoint(_DYNAMIC)
    if dynamic:
        names |= {text for text in strings if text.isidentifier()}
    if not names.isdisjoint(_ANY_MODULE):
        modules.update({(text, 0): None for text in sorted(strings)})
    return Reads(
        variables=tuple(variables),
        names=frozenset(names),
        filled=frozenset(name for name, only in loaded.items() if only),
        modules=tuple(modules),
        dynamic=dynamic,
        any_variable=not names.isdisjoint(_ANY_VARIABLE),
    )


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _codes(const)


def _names_read(code: types.CodeType, steps: list[dis.Instruction]) -> set[str]:
    """Return the names in a code object without those that it only assigns to."""
    stored = {step.argval for step in steps if step.opname in _STORING}
    if stored:
        stored -= {step.argval for step in steps if step.opname not in _STORING}
    return set(code.co_names) - stored


def _imports(steps: list[dis.Instruction]) -> Iterator[tuple[str, int]]:
    """Yield the names of imported modules, with the levels of relative ones."""
    constants: list[Any] = []
    for step in steps:
        if step.opname == "IMPORT_NAME":
            level = constants[-2] if len(constants) > 1 else 0
            yield str(step.argval), level if isinstance(level, int) else 0
        elif "CONST" in step.opname or "SMALL_INT" in step.opname:
            constants.append(step.argval)


def _loads(steps: list[dis.Instruction]) -> Iterator[tuple[str, bool, bool]]:
    """Yield each name, whether it is global, and whether it is only written to."""
    for i, step in enumerate(steps):
        is_global = step.opname in _GLOBAL
        if not is_global and step.opname not in _CELL:
            continue
        then = steps[i + 1] if i + 1 < len(steps) else step
        only_filled = then.opname in _ATTRIBUTE and then.argval in _FILLING
        yield str(step.argval), is_global, only_filled


class Scope:
    """The names that all code of one likelihood reads.

    It grows while that code is discovered, and is constant afterwards.
    """

    __slots__ = ("codes", "dynamic", "names", "ordered", "unseen")

    def __init__(self) -> None:
        self.codes: dict[int, types.CodeType] = {}
        self.names: set[str] = set()
        self.ordered: tuple[str, ...] = ()
        self.dynamic = False
        # Whether no program has been compiled for it yet.
        self.unseen = True

    def add(self, code: types.CodeType) -> Reads:
        """Include the names of a code object."""
        reads = reads_of(code)
        if id(code) not in self.codes:
            self.codes[id(code)] = code
            self.names |= reads.names
            self.ordered = tuple(sorted(self.names))
            self.dynamic |= reads.dynamic
        return reads

    @property
    def everything(self) -> bool:
        """Whether any attribute may be read."""
        return self.dynamic or not self.codes


# Functions and classes of these libraries are constants; values that a user has put
# into their closures or objects are compared. pytest is one because an `assert` that it
# has rewritten reads the state of the whole session.
_LIBRARIES = frozenset(
    {
        "IPython",
        "_pytest",
        "beartype",
        "builtins",
        "distrax",
        "equinox",
        "everwillow",
        "flax",
        "hypothesis",
        "jax",
        "jaxlib",
        "jaxtyping",
        "lineax",
        "matplotlib",
        "numpy",
        "optax",
        "optimistix",
        "pandas",
        "pluggy",
        "pytest",
        "rich",
        "scipy",
        "tensorflow_probability",
        "tqdm",
    }
)
_STANDARD = sysconfig.get_path("stdlib")
_is_library: dict[Any, bool] = {}


def is_library(module: Any) -> bool:
    """Return whether a module, by name, is of a library whose code does not change."""
    known = _is_library.get(module)
    if known is None:
        root = str(module).partition(".")[0]
        known = root in _LIBRARIES or (
            root in sys.stdlib_module_names and _is_standard(sys.modules.get(root))
        )
        _is_library[module] = known
    return known


def _is_standard(module: Any) -> bool:
    """Return whether a module is not one of the same name beside a user's script."""
    file = getattr(module, "__file__", None)
    name = getattr(module, "__name__", "__main__")
    return name != "__main__" and (file is None or file.startswith(_STANDARD))


def is_of_library(function: types.FunctionType) -> bool:
    """Return whether a function was written in a library."""
    space: Mapping[str, Any] = function.__globals__
    return is_library(space.get("__name__"))
