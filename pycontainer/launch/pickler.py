"""The pickler of payloads: cloudpickle's, with functions, cells and modules taken apart our way.

cloudpickle decides how classes and a few other things are taken apart.  Functions, cells and
modules become names of ``reconstruct.py`` here, for three reasons: the child need not import
cloudpickle, variables that functions share stay shared, and a global that only the body of a
class inside a function names is found.
"""

from __future__ import annotations

import copyreg
import dataclasses
import functools
import io
import marshal
import pickle
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

import cloudpickle
import cloudpickle.cloudpickle as _cloudpickle

from . import reconstruct
from .references import (
    CodeFacts,
    annotations_of,
    code_facts,
    found_by_name,
    goes_by_name,
    imported_names,
    importing_functions,
    loaded_submodules,
)

__all__ = ["Pickler"]

# Buffers at least this long (bytes) travel beside the pickle, the rest in it.
_BESIDE = 16 * 1024

# Types whose own module does not have them under their name, such as FunctionType.
_NAMES_IN_TYPES = {
    kind: name
    for name, kind in vars(types).items()
    if type(kind) is type
    and getattr(sys.modules.get(kind.__module__), kind.__name__, None) is not kind
}

# The reduction of a class whatever its module.  It is not public: should it go, cloudpickle
# decides, and a class of a module that the child cannot find goes by name.
_reduce_class_by_value = getattr(_cloudpickle, "_dynamic_class_reduce", None)
# A class is sent in our own names only if its reduction is as we know it.
_KNOWN_CLOUDPICKLES = ("3.0.", "3.1.")
_class_reduction_known = cloudpickle.__version__.startswith(_KNOWN_CLOUDPICKLES)


class _Reducers(dict[type, Callable[[Any], Any]]):
    """Reducers by type.  copyreg's are looked up as late as pickle looks them up."""

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        return copyreg.dispatch_table[kind]


def _reducers_of_cloudpickle() -> dict[type, Callable[[Any], Any]]:
    """The reducers that are cloudpickle's own: its table shows copyreg's among them."""
    return {
        kind: reducer
        for kind, reducer in cloudpickle.Pickler.dispatch_table.items()
        if copyreg.dispatch_table.get(kind) is not reducer
    }


def _reduce_code(code: types.CodeType) -> Any:
    marshalled = code_facts(code).marshalled
    if marshalled is None:
        return cloudpickle.Pickler.dispatch_table[types.CodeType](code)
    return marshal.loads, (marshalled,)


def _refuse_text_file(file: io.TextIOWrapper) -> Any:
    # cloudpickle would read the file and send a StringIO: not what an open file means here.
    raise pickle.PicklingError("an open file cannot be sent")


def _by_name_or(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A reducer for what typing knows by name only: *make* is for modules not found by name."""

    def reduce(thing: Any) -> Any:
        name = thing.__name__
        module = sys.modules.get(thing.__module__)
        found: Any = getattr(module, name, None)
        if found is thing and found_by_name(module):
            return name
        return make(thing), ()

    return reduce


def _type_variable(variable: typing.TypeVar) -> Any:
    return functools.partial(
        typing.TypeVar,
        variable.__name__,
        *variable.__constraints__,
        bound=variable.__bound__,
        covariant=variable.__covariant__,
        contravariant=variable.__contravariant__,
    )


def _parameter_variable(variable: Any) -> Any:
    make: Any = type(variable)
    return functools.partial(make, variable.__name__)


def _new_type(kind: Any) -> Any:
    make: Any = typing.NewType
    return functools.partial(make, kind.__name__, kind.__supertype__)


def _reduce_field_kind(kind: Any) -> Any:
    # The kinds of dataclass fields (_FIELD, _FIELD_CLASSVAR, _FIELD_INITVAR) are told by identity.
    return getattr, (dataclasses, kind.name)


def _reduce_module(module: types.ModuleType) -> Any:
    if found_by_name(module):
        return reconstruct.named_module, (module.__name__,)
    # How it was loaded does not matter in the child, and a test runner's loader cannot be sent.
    left_out = ("__builtins__", "__loader__", "__spec__")
    variables = {name: value for name, value in vars(module).items() if name not in left_out}
    return reconstruct.make_module, (module.__name__,), variables


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Takes one payload apart."""

    dispatch_table = _Reducers(_reducers_of_cloudpickle())
    dispatch_table[types.CodeType] = _reduce_code
    dispatch_table[types.ModuleType] = _reduce_module
    dispatch_table[io.TextIOWrapper] = _refuse_text_file
    dispatch_table[typing.TypeVar] = _by_name_or(_type_variable)
    dispatch_table[typing.ParamSpec] = _by_name_or(_parameter_variable)
    dispatch_table[typing.TypeVarTuple] = _by_name_or(_parameter_variable)
    dispatch_table[typing.NewType] = _by_name_or(_new_type)
    if _kind := getattr(dataclasses, "_FIELD_BASE", None):
        dispatch_table[_kind] = _reduce_field_kind
    del _kind

    def __init__(self, sink: Any, buffers: list[pickle.PickleBuffer] | None = None) -> None:
        self.imports: list[str] = []
        self._by_value = cloudpickle.list_registry_pickle_by_value()
        self._streams = {id(getattr(sys, name)): name for name in ("stdin", "stdout", "stderr")}
        self._streams.pop(id(None), None)  # a process without a terminal may have none
        # By identity: globals of functions, as (the original, the part sent, names sent).
        self._globals: dict[int, tuple[dict[str, Any], dict[str, Any], set[str]]] = {}
        # By identity: cells whose contents are, or are about to be, in the stream.
        self._cells: dict[int, types.CellType] = {}

        def beside(buffer: pickle.PickleBuffer) -> bool:
            if buffers is None or memoryview(buffer).nbytes < _BESIDE:
                return True  # in the pickle, please
            buffers.append(buffer)
            return False

        super().__init__(sink, 5, None if buffers is None else beside)

    def reducer_override(self, obj: Any) -> Any:
        """Called by the C pickler for every object but the plainest."""
        kind = type(obj)
        if kind is types.FunctionType:
            return NotImplemented if self._goes_by_name(obj) else self._reduce_function(obj)
        if kind is types.CellType:
            return self._reduce_cell(obj)
        try:
            if issubclass(kind, type):
                return self._reduce_class(obj)
        except TypeError:  # a type that is no class, from an extension module
            pass
        # The child's own standard streams stand in for the caller's, whatever these are.
        name = self._streams.get(id(obj))
        return (getattr, (sys, name)) if name else NotImplemented

    def note_imports_of(self, fn: Any) -> None:
        """Note what the import statements of *fn*, and of what it refers to, name, if fn goes by
        name: then nothing else does."""
        while True:
            if isinstance(fn, functools.partial):
                fn = fn.func
            elif isinstance(fn, types.MethodType):
                fn = fn.__func__
            else:
                break
        if isinstance(fn, types.FunctionType) and self._goes_by_name(fn):
            facts = code_facts(fn.__code__)
            self._note_imports(facts, fn.__globals__)
            referred = [
                fn.__globals__[name] for name in facts.global_names if name in fn.__globals__
            ]
            modules = [each for each in referred if type(each) is types.ModuleType]
            modules += [each for one in modules for each in loaded_submodules(one, facts.names)]
            self._note_imports_below(referred, modules, facts.names)

    def _note_imports(self, facts: CodeFacts, variables: dict[str, Any]) -> None:
        for name in imported_names(facts, variables):
            if name not in self.imports:
                self.imports.append(name)

    def _note_imports_below(
        self, referred: list[Any], modules: list[types.ModuleType], names: frozenset[str]
    ) -> None:
        """Note the imports of the functions that code with these *names* refers to: directly, or
        as attributes of *modules*.  They may go by name, and then nothing else looks at them."""
        things = [each for each in referred if type(each) is not types.ModuleType]
        for module in modules:
            variables = vars(module)
            things += [variables[name] for name in names if name in variables]
        for thing in things:
            for function in importing_functions(thing, names):
                self._note_imports(code_facts(function.__code__), function.__globals__)

    def _reduce_function(self, function: types.FunctionType) -> Any:
        code = function.__code__
        facts = code_facts(code)
        original = function.__globals__
        if facts.imports:
            self._note_imports(facts, original)

        _, sent, names_sent = self._globals.get(id(original)) or self._begin_globals(original)
        variables = {}
        packages: list[types.ModuleType] = []
        referred = []
        for name in facts.global_names:
            if name in original:
                value = original[name]
                referred.append(value)
                if type(value) is types.ModuleType:
                    packages.append(value)
                if name not in names_sent:
                    names_sent.add(name)
                    variables[name] = value

        cells = function.__closure__
        filled: list[types.CellType] = []
        contents: list[Any] = []
        for cell in cells or ():
            try:
                value = cell.cell_contents
            except ValueError:
                continue  # the variable is not assigned yet
            referred.append(value)
            if type(value) is types.ModuleType:
                packages.append(value)
            if id(cell) not in self._cells:
                self._cells[id(cell)] = cell
                filled.append(cell)
                contents.append(value)

        # The modules are only to be loaded; nothing is done with them.
        modules = [module for each in packages for module in loaded_submodules(each, facts.names)]
        if referred:
            self._note_imports_below(referred, packages + modules, facts.names)
        attributes = _own_attributes(function, facts)
        made = reconstruct.make_function, (code, sent, cells)
        if not (variables or filled or attributes or packages):
            return made
        state = (variables, tuple(filled), tuple(contents), attributes, modules)
        return (*made, state, None, None, reconstruct.fill_function)

    def _begin_globals(
        self, original: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any], set[str]]:
        """Start the part of some functions' globals that is sent: what tells relative imports."""
        sent = {name: original[name] for name in _MODULE_NAMES if name in original}
        begun = self._globals[id(original)] = original, sent, {"__builtins__", *sent}
        return begun

    def _reduce_cell(self, cell: types.CellType) -> Any:
        if id(cell) in self._cells:  # its function fills it
            return reconstruct.make_cell, ()
        try:
            contents = cell.cell_contents
        except ValueError:
            return reconstruct.make_cell, ()
        self._cells[id(cell)] = cell
        return reconstruct.make_cell, (), contents, None, None, reconstruct.fill_cell

    def _reduce_class(self, kind: Any) -> Any:
        if type(kind) is type and kind in _NAMES_IN_TYPES:
            return reconstruct.named_type, (_NAMES_IN_TYPES[kind],)
        if self._goes_by_name(kind) or kind in _SINGLETON_TYPES:
            return NotImplemented
        if kind.__module__ == "ctypes":
            # The class of the functions of one loaded library, of which a copy cannot be made.
            raise pickle.PicklingError("a loaded library cannot be sent")
        if _reduce_class_by_value is None:
            return super().reducer_override(kind)
        reduced = _reduce_class_by_value(kind)
        if _class_reduction_known and reduced[0] is _cloudpickle._make_skeleton_class:
            reduced = (reconstruct.make_class, *reduced[1:-1], reconstruct.fill_class)
        return reduced

    def _goes_by_name(self, thing: Any) -> bool:
        if not goes_by_name(thing):
            return False
        # What the user told cloudpickle to send by value (register_pickle_by_value).
        module = thing.__module__
        return not any(f"{module}.".startswith(f"{each}.") for each in self._by_value)


_MODULE_NAMES = ("__name__", "__package__", "__file__", "__path__")
_SINGLETON_TYPES = (type(None), type(NotImplemented), type(...))


def _own_attributes(function: types.FunctionType, facts: CodeFacts) -> dict[str, Any]:
    """The attributes of *function* that a new function over its code would not have."""
    code = function.__code__
    own: dict[str, Any] = {}
    if function.__name__ != code.co_name:
        own["__name__"] = function.__name__
    if function.__qualname__ != code.co_qualname:
        own["__qualname__"] = function.__qualname__
    if function.__module__ != function.__globals__.get("__name__"):
        own["__module__"] = function.__module__
    if function.__doc__ != facts.doc:
        own["__doc__"] = function.__doc__
    annotations = annotations_of(function)
    if annotations:
        own["__annotations__"] = annotations
    for name in ("__defaults__", "__kwdefaults__", "__type_params__", "__dict__"):
        value = getattr(function, name, None)
        if value:
            own[name] = value
    return own
