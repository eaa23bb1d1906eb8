"""What code refers to: which globals and imports it names, and what the child finds by name."""

from __future__ import annotations

import marshal
import opcode
import os
import sys
import types
import weakref
from collections.abc import Iterator
from importlib.machinery import FrozenImporter, PathFinder
from typing import Any

__all__ = [
    "CodeFacts",
    "code_facts",
    "found_by_name",
    "goes_by_name",
    "imported_names",
    "loaded_submodules",
]


# ---- what a code object names ------------------------------------------------------------------


class CodeFacts:
    """What a code object and the ones nested in it name.

    Attributes:
        marshalled: the code as ``marshal`` writes it, None if it has constants of other types.
        global_names: the names of global variables, in the order of their first use.
        names: every name, those of attributes too.
        imports: (level, name, names after "from" or None) of each import statement.
        doc: the docstring that a function over this code has from the start.
    """

    __slots__ = ("doc", "global_names", "imports", "marshalled", "names")

    def __init__(self, code: types.CodeType) -> None:
        self.marshalled: bytes | None
        try:
            self.marshalled = marshal.dumps(code)
        except ValueError:
            self.marshalled = None
        names: dict[str, None] = {}
        global_names: dict[str, None] = {}
        self.imports: list[tuple[int, str, tuple[str, ...] | None]] = []
        pending = [code]
        for each in pending:
            names.update(dict.fromkeys(each.co_names))
            _scan(each, global_names, self.imports)
            pending += [const for const in each.co_consts if isinstance(const, types.CodeType)]
        self.names = frozenset(names)
        self.global_names = tuple(global_names)
        cells = tuple(types.CellType() for _ in code.co_freevars)
        self.doc = types.FunctionType(code, {}, None, None, cells).__doc__


_LOAD_GLOBAL = opcode.opmap["LOAD_GLOBAL"]
_IMPORT_NAME = opcode.opmap["IMPORT_NAME"]
_LOAD_CONST = opcode.opmap["LOAD_CONST"]
_LOAD_SMALL_INT = opcode.opmap.get("LOAD_SMALL_INT")  # Python 3.14
_EXTENDED_ARG = opcode.opmap["EXTENDED_ARG"]
# The body of a class names globals by LOAD_NAME, inside a generic function (PEP 695) by the last.
_OTHER_GLOBALS = {
    opcode.opmap[name]
    for name in ("STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
    if name in opcode.opmap
}
_OF_INTEREST = {_LOAD_GLOBAL, _IMPORT_NAME, _LOAD_CONST, _LOAD_SMALL_INT, _EXTENDED_ARG}
_OF_INTEREST |= _OTHER_GLOBALS


def _scan(
    code: types.CodeType,
    global_names: dict[str, None],
    imports: list[tuple[int, str, tuple[str, ...] | None]],
) -> None:
    """Add what the instructions of *code* name.

    An instruction is two bytes, opcode and argument (since 3.6); inline caches (since 3.11) read
    as opcode 0, which is none of those of interest.
    """
    raw = code.co_code
    names, constants = code.co_names, code.co_consts
    extended = 0
    last: Any = None
    before_last: Any = None
    for operation, low_byte in zip(raw[::2], raw[1::2], strict=True):
        if operation not in _OF_INTEREST:
            extended = 0
            continue
        argument = low_byte | extended
        extended = 0
        if operation == _EXTENDED_ARG:
            extended = argument << 8
        elif operation == _LOAD_GLOBAL:
            global_names[names[argument >> 1]] = None  # the lowest bit: followed by a call
        elif operation == _LOAD_CONST:
            before_last, last = last, constants[argument]
        elif operation == _LOAD_SMALL_INT:
            before_last, last = last, argument
        elif operation == _IMPORT_NAME:
            # The two constants before it are the level and the names after "from".
            imports.append((before_last, names[argument], last))
        else:
            global_names[names[argument]] = None


# By identity: equal code objects may come from different files, and hashing one reads all of it.
_facts: dict[int, tuple[weakref.ref[types.CodeType], CodeFacts]] = {}


def code_facts(code: types.CodeType) -> CodeFacts:
    """The facts about *code*, found once as long as it lives."""
    key = id(code)
    known = _facts.get(key)
    if known is not None and known[0]() is code:
        return known[1]
    facts = CodeFacts(code)
    _facts[key] = weakref.ref(code, lambda _: _facts.pop(key, None)), facts
    return facts


def imported_names(facts: CodeFacts, variables: dict[str, Any]) -> Iterator[str]:
    """The modules that the import statements name and that this process has loaded."""
    for level, named, members in facts.imports:
        name = named
        if level:
            package = variables.get("__package__") or variables.get("__name__") or ""
            package = package.rsplit(".", level - 1)[0]
            name = f"{package}.{named}" if named else package
        while name and sys.modules.get(name) is None:
            name = name.rpartition(".")[0]
        if name and name != "__main__":
            yield name
            for member in members or ():
                if sys.modules.get(f"{name}.{member}") is not None:
                    yield f"{name}.{member}"


def loaded_submodules(
    package: types.ModuleType, names: frozenset[str]
) -> Iterator[types.ModuleType]:
    """Loaded submodules of *package* that code with these *names* can reach by attributes.

    ``import concurrent.futures`` binds only ``concurrent``: importing that in the child would not
    be enough for a function that uses ``concurrent.futures``.
    """
    if "__path__" in vars(package):
        for name in names:
            module = sys.modules.get(f"{package.__name__}.{name}")
            if isinstance(module, types.ModuleType):
                yield module
                yield from loaded_submodules(module, names)


# ---- what the child finds by name ----------------------------------------------------------------

# Verdicts for one sys.path: module name -> (module, whether its name finds it).
_verdicts: dict[str, tuple[types.ModuleType, bool]] = {}
_verdicts_path: tuple[str, ...] = ()


def found_by_name(module: Any) -> bool:
    """Whether importing the name of *module* in the child finds the same file.

    The child has this process's sys.path but none of its import hooks, and no ``__main__``.  A
    change of sys.path is seen at once, a change of the files is not.
    """
    global _verdicts, _verdicts_path
    if not isinstance(module, types.ModuleType):
        return False
    path = tuple(sys.path)
    if path != _verdicts_path:
        _verdicts, _verdicts_path = {}, path
    name = module.__name__
    known = _verdicts.get(name)
    if known is not None and known[0] is module:
        return known[1]
    verdict = _finds(module, name)
    _verdicts[name] = module, verdict
    return verdict


def _finds(module: types.ModuleType, name: str) -> bool:
    if name in ("__main__", "__mp_main__") or sys.modules.get(name) is not module:
        return False
    spec = getattr(module, "__spec__", None)
    if name in sys.builtin_module_names:
        return True
    if (
        FrozenImporter.find_spec(name) is not None
        and getattr(spec, "loader", None) is FrozenImporter
    ):
        return True
    parent, _, _ = name.rpartition(".")
    if parent:
        package = sys.modules.get(parent)
        if package is None or not found_by_name(package):
            return False
        places = getattr(package, "__path__", ())
    else:
        places = sys.path
    found = PathFinder.find_spec(name, list(places))
    file = getattr(module, "__file__", None)
    if found is None:
        # A module without a file below a package that is found: the package makes it (six.moves).
        return bool(parent) and file is None
    if file is None:
        # A namespace package is where its directories are.
        mine = list(getattr(module, "__path__", ()))
        return found.origin is None and mine == list(found.submodule_search_locations or ())
    return found.origin is not None and _same_file(found.origin, file)


def _same_file(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def goes_by_name(thing: Any) -> bool:
    """Whether the child finds the function or class *thing* under its module and name."""
    name = getattr(thing, "__module__", None)
    module = sys.modules.get(name) if isinstance(name, str) else None
    if module is None:
        return False
    found: Any = module
    try:
        for part in thing.__qualname__.split("."):
            found = getattr(found, part)
    except AttributeError:
        return False
    return found is thing and found_by_name(module)
