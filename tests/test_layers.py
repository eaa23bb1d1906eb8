"""The layers import one way, and the package's table of names is true."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainer

ROOT = Path(pycontainer.__file__).resolve().parent

# Each may import those before it.  ``calls``, ``excursion`` and ``commands`` are the front doors.
LAYERS = [
    "lazy",
    "errors",
    "declare",
    "plan",
    "_native",
    "host",
    "launch",
    "calls",
    "excursion",
    "commands",
    "oci",
    "build",
    "shell",
    "inspection",
    "cli",
    "__main__",
]


def layer_of(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def sources() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def for_types_only(tree: ast.Module) -> set[ast.AST]:
    """Whatever stands under ``if TYPE_CHECKING:``."""
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }


def imported_layers(path: Path) -> Iterator[str]:
    """The layers that a file imports at run time, wherever in it the import stands."""
    tree = ast.parse(path.read_text())
    excused = for_types_only(tree)
    package = ["pycontainer", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(tree):
        if node in excused:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("pycontainer."):
                    yield alias.name.split(".")[1]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            full = [*base, *(node.module.split(".") if node.module else [])]
            if full[:1] != ["pycontainer"]:
                continue
            if len(full) > 1:
                yield full[1]
            else:
                yield from (alias.name for alias in node.names if alias.name != "__file__")


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    layer = layer_of(path)
    assert layer in LAYERS
    allowed = set(LAYERS[: LAYERS.index(layer) + 1])
    assert set(imported_layers(path)) <= allowed


def test_one_module_imports_the_compiled_helper():
    importers = {
        path.relative_to(ROOT).as_posix()
        for path in sources()
        if "_helper" in path.read_text() and "import" in path.read_text()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("_helper")
    }
    assert importers == {"_native/__init__.py"}


def test_declarations_and_plans_need_no_compiled_helper():
    script = (
        "import sys; sys.modules['pycontainer._native._helper'] = None; import pycontainer as pc; "
        "print(len(pc.explain(pc.Container([pc.tmpfs('/x')]))) > 100)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("pycontainer", "attr attrs cloudpickle pickle _cffi_backend typing"),
        ("pycontainer.launch.child", "attr attrs cloudpickle typing re inspect"),
        ("pycontainer.declare.container", "cloudpickle _cffi_backend pycontainer.launch"),
        ("pycontainer.plan.compile", "cloudpickle _cffi_backend pycontainer.launch"),
        ("pycontainer.errors", "attr attrs cloudpickle _cffi_backend subprocess"),
        ("pycontainer.launch.start", "cloudpickle pickle subprocess click logging"),
        ("pycontainer.cli.ps", "attrs pycontainer.inspection click rich json"),
        (
            "pycontainer.inspection.listing",
            "pycontainer.launch _cffi_backend subprocess socket rich",
        ),
        ("pycontainer.cli.running", "cloudpickle pickle subprocess click logging _cffi_backend"),
    ],
)
def test_what_an_import_does_not_load(module, absent):
    """The helper and what needs no helper stay lean.  (-S: no .pth file loads anything first.)"""
    script = f"import sys; sys.path[:0] = {sys.path!r}; import {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], capture_output=True, text=True, check=False
    )
    loaded = set(done.stdout.split())
    assert module in loaded, done.stderr
    assert loaded.isdisjoint(absent.split())


def test_words_of_subprocess_are_those_of_subprocess():
    for name in ("PIPE", "STDOUT", "DEVNULL"):
        assert getattr(pycontainer, name) == getattr(subprocess, name)


def test_every_public_name_resolves():
    for name in pycontainer.__all__:
        assert getattr(pycontainer, name) is not None
        assert name in dir(pycontainer)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = pycontainer.nonsense  # type: ignore[attr-defined]


def test_names_for_types_are_the_names_at_run_time():
    tree = ast.parse((ROOT / "__init__.py").read_text())
    for_types = {
        alias.name: node.module
        for node in for_types_only(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert for_types == pycontainer._HOME
    assert sorted(for_types) == sorted(pycontainer.__all__)
    for name, home in for_types.items():
        module = importlib.import_module(f"pycontainer.{home}")
        assert getattr(module, name) is getattr(pycontainer, name)


DESIGNED = """
call_with_container run_container start_container container_excursion Container extend explain
bind tmpfs overlay device proc sysfs devpts mqueue Mount directory file symlink
host_python host_system host_network NAMESPACES Running Completed ExitStatus Usage Verdict
user_namespace_supported unprivileged_user_namespace_supported setgroups_supported diagnose
ContainerError SetupError PayloadError ContainerExitError ContainerTimeoutError CommandError
RemoteError ResultError HelperError PIPE DEVNULL STDOUT
"""


def test_public_names_of_the_design():
    assert set(pycontainer.__all__) >= set(DESIGNED.split())
