"""What code refers to: which globals and imports it names, and what the child finds by name."""

from __future__ import annotations

import functools
import marshal
import opcode
import os
import sys
import types
import weakref
from collections.abc import Iterator
from importlib.machinery import (
    BuiltinImporter,
    ExtensionFileLoader,
    FrozenImporter,
    ModuleSpec,
    PathFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from typing import Any

__all__ = [
    "CodeFacts",
    "annotations_of",
    "code_facts",
    "found_by_name",
    "goes_by_name",
    "hooked_locations",
    "imported_names",
    "importing_functions",
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
            found_by_name(sys.modules[name])  # so that the child learns of a hook's location
            yield name
            for member in members or ():
                if sys.modules.get(f"{name}.{member}") is not None:
                    yield f"{name}.{member}"


# Called without being named, by whoever names their class.
_CALLED_BY_SYNTAX = frozenset({
    "__call__", "__enter__", "__exit__", "__init__", "__iter__", "__new__", "__next__",
    "__post_init__",
})  # fmt: skip

# By identity of a class or a code object, like _facts.
_importing_methods: dict[int, tuple[weakref.ref[type], dict[str, types.FunctionType]]] = {}
_importing: dict[int, tuple[weakref.ref[types.CodeType], bool]] = {}


def importing_functions(thing: Any, names: frozenset[str]) -> list[types.FunctionType]:
    """Functions with import statements that code may call which refers to *thing*.

    That is *thing* itself, or the methods of a class or an instance that the code names by one of
    *names* or calls by syntax.  What these call in turn is not looked at.
    """
    if isinstance(thing, _WRAPPERS):
        thing = _unwrapped(thing)
    if isinstance(thing, types.FunctionType):
        return [thing] if _imports(thing) else []
    kind = thing if isinstance(thing, type) else type(thing)
    return [
        method
        for name, method in _methods(kind).items()
        if name in names or name in _CALLED_BY_SYNTAX
    ]


def _methods(kind: type) -> dict[str, types.FunctionType]:
    """The methods of *kind* that have import statements, by name."""
    key = id(kind)
    known = _importing_methods.get(key)
    if known is not None and known[0]() is kind:
        return known[1]
    found: dict[str, types.FunctionType] = {}
    for each in kind.__mro__:
        for name, value in list(vars(each).items()):
            function = _unwrapped(value)
            if isinstance(function, types.FunctionType) and _imports(function):
                found.setdefault(name, function)
    _importing_methods[key] = weakref.ref(kind, lambda _: _importing_methods.pop(key, None)), found
    return found


def _unwrapped(thing: Any) -> Any:
    """The function in a method, a decorator of the standard library, or what wraps() wrapped."""
    for _ in range(10):  # a function may wrap itself
        if isinstance(thing, (types.MethodType, staticmethod, classmethod)):
            thing = thing.__func__
        elif isinstance(thing, (functools.partial, functools.cached_property)):
            thing = thing.func
        elif isinstance(thing, property):
            thing = thing.fget
        elif isinstance(thing, (types.FunctionType, _CachedFunction)):
            inner = vars(thing).get("__wrapped__")
            if inner is None:
                break
            thing = inner
        else:
            break
    return thing


_CachedFunction = type(functools.cache(lambda: None))
_WRAPPERS = (
    types.FunctionType, types.MethodType, functools.partial, functools.cached_property,
    property, staticmethod, classmethod, _CachedFunction,
)  # fmt: skip


def _imports(function: types.FunctionType) -> bool:
    """Whether the code of *function*, which is not this package's, has an import statement."""
    code = function.__code__
    key = id(code)
    known = _importing.get(key)
    if known is None or known[0]() is not code:
        found = _has_import(code) and not str(function.__module__).startswith("pycontainer.")
        known = weakref.ref(code, lambda _: _importing.pop(key, None)), found
        _importing[key] = known
    return known[1]


def _has_import(code: types.CodeType) -> bool:
    return _IMPORT_NAME in code.co_code[::2] or any(
        _has_import(const) for const in code.co_consts if isinstance(const, types.CodeType)
    )


def annotations_of(function: types.FunctionType) -> dict[str, Any]:
    """The annotations of *function*; {} if they name what does not exist (since Python 3.14)."""
    try:
        return function.__annotations__
    except Exception:
        return {}


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

# For one sys.path: module name -> (module, whether its name finds it).
_verdicts: tuple[list[str], dict[str, tuple[types.ModuleType, bool]]] = ([], {})

# Top-level modules that only an import hook of this process finds, as an editable installation
# has one: name -> (file or None, directories or None).  The child gets them all.
_locations: dict[str, tuple[str | None, list[str] | None]] = {}


def hooked_locations() -> dict[str, tuple[str | None, list[str] | None]]:
    """Where the child finds what ``found_by_name`` has found by import hooks."""
    return _locations


def found_by_name(module: Any) -> bool:
    """Whether importing the name of *module* in the child finds the same file.

    The child has this process's sys.path but none of its import hooks, and no ``__main__``.  A
    change of sys.path is seen at once, a change of the files is not.
    """
    global _verdicts
    if not isinstance(module, types.ModuleType):
        return False
    path, verdicts = _verdicts
    if path != sys.path:
        verdicts = {}
        _verdicts = list(sys.path), verdicts
    name = module.__name__
    known = verdicts.get(name)
    if known is not None and known[0] is module:
        return known[1]
    verdict = _finds(module, name)
    verdicts[name] = module, verdict
    return verdict


def _finds(module: types.ModuleType, name: str) -> bool:
    if name in ("__main__", "__mp_main__") or sys.modules.get(name) is not module:
        return False
    if name in sys.builtin_module_names:
        return True
    loader = getattr(getattr(module, "__spec__", None), "loader", None)
    if loader is FrozenImporter and FrozenImporter.find_spec(name) is not None:
        return True
    parent, _, _ = name.rpartition(".")
    if parent:
        package = sys.modules.get(parent)
        if package is None or not found_by_name(package):
            return False
        found = PathFinder.find_spec(name, list(getattr(package, "__path__", ())))
        if found is None:
            # The package makes what it has in no file, such as six.moves.
            return getattr(module, "__file__", None) is None
        return _is_of(module, found)
    found = PathFinder.find_spec(name, list(sys.path))
    if found is not None:
        return _is_of(module, found)
    found = _found_by_hook(name)
    if found is None or not _is_of(module, found):
        return False
    directories = found.submodule_search_locations
    _locations[name] = found.origin, None if directories is None else list(directories)
    return True


def _found_by_hook(name: str) -> ModuleSpec | None:
    """What an import hook finds under *name*, if the child can load it without the hook."""
    for finder in list(sys.meta_path):
        if finder in (BuiltinImporter, FrozenImporter, PathFinder):
            continue
        try:
            found = finder.find_spec(name, None)
        except Exception:  # a hook's own trouble is not ours
            continue
        if found is not None:
            is_namespace = found.origin is None and found.submodule_search_locations is not None
            return found if is_namespace or type(found.loader) in _PLAIN_LOADERS else None
    return None


_PLAIN_LOADERS = (SourceFileLoader, SourcelessFileLoader, ExtensionFileLoader)


def _is_of(module: types.ModuleType, spec: ModuleSpec) -> bool:
    """Whether *module* came from where *spec* says."""
    file = getattr(module, "__file__", None)
    if file is None:
        # A namespace package is where its directories are.
        mine = list(getattr(module, "__path__", ()))
        return spec.origin is None and mine == list(spec.submodule_search_locations or ())
    return spec.origin is not None and _same_file(spec.origin, file)


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
