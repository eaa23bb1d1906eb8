"""The child's half of a payload: bytes in, the function to run out.

The caller's pickler (``payload.py``) emits the names of this module for functions, cells,
modules and plain classes, so all of these load without cloudpickle, whose import alone costs
more than the rest of a call.  No table of cloudpickle's names is needed here: where the caller
leaves something to cloudpickle, the stream names cloudpickle and loading imports it.

The lean helper process (``python -I -S``) imports this module: it may use only what ``_pickle``
loads anyway.
"""

from __future__ import annotations

import _pickle
import builtins
import marshal
import sys
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from _typeshed import ReadableBuffer

__all__ = [
    "HEADER_LENGTH",
    "classes_to_cloudpickle",
    "failed_import",
    "fill_cell",
    "fill_class",
    "fill_function",
    "load_payload",
    "make_cell",
    "make_class",
    "make_function",
    "make_module",
    "named_module",
    "named_type",
    "wants_environment",
]

# A payload is: 4 bytes, the length of a header (little endian); the header; the pickle; buffers
# that travel beside it.  The header is empty or marshalled: a list of the buffers' (offset,
# length, writable), and a dict of modules that sys.path does not find (see _Locations).
HEADER_LENGTH = 4

# Identifiers that cloudpickle gave to classes in the caller -> the classes made here.
_made_classes: dict[str, type] = {}


def load_payload(
    data: ReadableBuffer,
) -> tuple[Callable[[], Any], Callable[..., Any] | None, tuple[Any, ...], Any]:
    """Return (fn, populate, allow, extra) as ``dump_payload`` got them.

    *data* is a whole payload: bytes, or a view of mapped memory.  Arrays that travelled beside
    the pickle stay views of *data*: map it privately and writable, and they cost no copy.  The
    modules that fn's code names in import statements are imported too; one that fails to import
    is left for fn itself to meet.

    Raises what loading raises: the ImportError of fn's module, or whatever that module does.
    """
    view = memoryview(data)
    start = HEADER_LENGTH + int.from_bytes(view[:HEADER_LENGTH], "little")
    if start == HEADER_LENGTH:
        loaded = _pickle.loads(view[start:])
    else:
        buffers = []
        places, locations = marshal.loads(view[HEADER_LENGTH:start])
        if locations:
            sys.meta_path.append(_Locations(locations))
        for offset, length, writable in places:
            piece = view[offset : offset + length]
            if writable and piece.readonly:
                piece = memoryview(bytearray(piece))
            elif not writable:
                piece = piece.toreadonly()
            buffers.append(piece)
        loaded = _pickle.loads(view[start:], buffers=buffers)
    fn, populate, allow, extra, imports = loaded
    for name in imports:
        try:
            __import__(name)
        except Exception:  # fn may be prepared for it: try: import x, except ImportError: ...
            pass
    if "_socket" in sys.modules:
        # Every host name given to a socket as a str is encoded with it (encoding_info() in
        # Modules/socketmodule.c), "127.0.0.1" too, and it is imported only then.
        import encodings.idna  # noqa: F401
    return fn, populate, allow, extra


class _Locations:
    """Finds the top-level modules for which the caller has an import hook, by their files."""

    def __init__(self, locations: dict[str, tuple[str | None, list[str] | None]]) -> None:
        self._locations = locations

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name not in self._locations:
            return None
        import _frozen_importlib
        import _frozen_importlib_external

        file, directories = self._locations[name]
        if file is not None:
            return _frozen_importlib_external.spec_from_file_location(
                name, file, submodule_search_locations=directories
            )
        spec = _frozen_importlib.ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = directories
        return spec


# ---- what the pickle calls -----------------------------------------------------------------


def make_function(
    code: types.CodeType, variables: dict[str, Any], cells: tuple[types.CellType, ...] | None
) -> types.FunctionType:
    """A function over *code*; ``fill_function`` adds what only a finished function may refer to.

    *variables* is shared by all functions that shared their globals in the caller, *cells* by all
    that shared a variable of an enclosing function.
    """
    variables["__builtins__"] = builtins
    return types.FunctionType(code, variables, None, None, cells)


def fill_function(
    function: types.FunctionType,
    state: tuple[
        dict[str, Any], tuple[types.CellType, ...], tuple[Any, ...], dict[str, Any], list[Any]
    ],
) -> None:
    """Give *function* its global variables, the contents of its cells, and its attributes."""
    variables, cells, contents, attributes, _modules = state
    function.__globals__.update(variables)
    for cell, value in zip(cells, contents, strict=True):
        cell.cell_contents = value
    for name, value in attributes.items():
        setattr(function, name, value)


def make_cell() -> types.CellType:
    """An empty cell: the variable of an enclosing function before anything is assigned to it."""
    return types.CellType()


def fill_cell(cell: types.CellType, contents: Any) -> None:
    """Assign to the variable that *cell* stands for."""
    cell.cell_contents = contents


def named_module(name: str) -> types.ModuleType:
    """Import the module *name*, a submodule too, and return it."""
    __import__(name)
    return sys.modules[name]


def make_module(name: str) -> types.ModuleType:
    """A module that exists in no file; the pickle fills its variables.  Not in sys.modules."""
    module = types.ModuleType(name)
    module.__builtins__ = builtins  # type: ignore[attr-defined]
    return module


def named_type(name: str) -> Any:
    """A built-in type that has no name but in ``types``: ``FunctionType``, ``MethodType``, ..."""
    return getattr(types, name)


def make_class(
    metaclass: type,
    name: str,
    bases: tuple[type, ...],
    variables: dict[str, Any],
    identifier: str | None,
    _reserved: object,
) -> type:
    """An empty class, remembered under cloudpickle's *identifier* for ``classes_to_cloudpickle``.

    The arguments are those of cloudpickle's own reduction of a class, which the caller uses.
    """
    made = types.new_class(
        name, bases, {"metaclass": metaclass}, lambda body: body.update(variables)
    )
    if identifier is not None:
        made = _made_classes.setdefault(identifier, made)
    return made


def fill_class(made: Any, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Give a class its attributes, and the virtual subclasses if it is an abstract base class."""
    attributes = state[0]
    subclasses = attributes.pop("_abc_impl", ())
    for name, value in attributes.items():
        setattr(made, name, value)
    if "__firstlineno__" in attributes:
        # Since Python 3.13, setting __module__ deletes it.
        made.__firstlineno__ = attributes["__firstlineno__"]
    for subclass in subclasses:
        made.register(subclass)


def classes_to_cloudpickle() -> None:
    """Tell cloudpickle of the classes made here, before a result is pickled with it.

    The caller's cloudpickle then finds its own class again in the result, not a copy of a copy.
    """
    if _made_classes:
        from cloudpickle import cloudpickle

        for identifier, made in _made_classes.items():
            cloudpickle._lookup_class_or_track(identifier, made)


# ---- what to say when loading fails ----------------------------------------------------------


def failed_import(error: BaseException) -> str:
    """The module whose import raised *error*, "" if *error* came from elsewhere.

    Of several that were being imported, this is the one that the payload asked for.
    """
    # Python removes the frames of importlib; those of the modules' own bodies remain.
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code is not load_payload.__code__:
        trace = trace.tb_next
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "<module>":
            return str(trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next
    return (error.name or "") if isinstance(error, ImportError) else ""


def wants_environment(error: BaseException) -> bool:
    """True if *error* is the KeyError of ``os.environ[name]``."""
    os = sys.modules.get("os")
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (
        isinstance(error, KeyError)
        and os is not None
        and trace is not None
        and trace.tb_frame.f_locals.get("self") is os.environ
    )
