"""What goes by name, what by value, and which modules the child imports."""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import importlib.util
import sys
import types
from typing import Any

import cloudpickle
import pytest

from pycontainer.launch import references
from pycontainer.launch.payload import dump_payload


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package on sys.path: mine, mine.sub, and six-like mine.made that no file holds."""
    root = tmp_path / "lib"
    (root / "mine").mkdir(parents=True)
    (root / "mine" / "__init__.py").write_text("NAME = __name__\ndef f(): return NAME\n")
    (root / "mine" / "sub.py").write_text(
        "class C:\n    def get(self): return __name__\n"
        "def lazy():\n    from . import other\n    return other.X\n"
    )
    (root / "mine" / "other.py").write_text("X = 5\n")
    monkeypatch.syspath_prepend(root)
    yield root
    for name in [name for name in sys.modules if name == "mine" or name.startswith("mine.")]:
        del sys.modules[name]


def load_from(path, name, register=True):
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if register:
        sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_module_on_the_path_goes_by_name(package, run):
    import mine  # type: ignore[import-not-found]
    import mine.sub  # type: ignore[import-not-found]

    assert dump_payload(mine.f).size < 150
    outcome = run(mine.f)
    assert outcome.value == "mine"
    assert "mine" in outcome.modules
    assert run(mine.sub.C().get).value == "mine.sub"


def test_module_from_a_path_goes_by_value(tmp_path, run):
    path = tmp_path / "loaded.py"
    path.write_text(
        "K = 4\ndef helper(): return K\nclass C:\n    def get(self): return helper()\n"
        "def f(): return (helper(), C().get(), __name__)\n"
    )
    module = load_from(path, "loaded_from_path")
    try:
        outcome = run(module.f)
        assert outcome.value == (4, 4, "loaded_from_path")
        assert "loaded_from_path" not in outcome.modules
        assert "cloudpickle" not in outcome.modules
    finally:
        del sys.modules["loaded_from_path"]


def test_module_that_another_file_shadows_goes_by_value(package, tmp_path, run):
    """The name is on sys.path, but it is not the file that this module came from."""
    other = tmp_path / "elsewhere.py"
    other.write_text("def f(): return 'the other'\n")
    module = load_from(other, "mine")
    assert run(module.f).value == "the other"


def test_submodule_from_a_path_goes_by_value(package, tmp_path, run):
    import mine

    other = tmp_path / "elsewhere.py"
    other.write_text("def f(): return 'the other'\n")
    module = load_from(other, "mine.sub")
    assert references.found_by_name(mine)
    assert run(module.f).value == "the other"


def test_module_object_without_a_file_goes_by_value(run):
    made = types.ModuleType("made_up")
    made.value = 6  # type: ignore[attr-defined]
    outcome = run(lambda: (made.value, made.__name__))
    assert outcome.value == (6, "made_up")


class Hook:
    """An import hook such as an editable installation adds."""

    def __init__(self, name, file, directories=None):
        self.name, self.file, self.directories = name, file, directories

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(
            name, self.file, submodule_search_locations=self.directories
        )


@pytest.fixture
def forget():
    """Forget the locations that a test has made known."""
    yield
    references.hooked_locations().clear()
    references._verdicts = [], {}
    for name in [name for name in sys.modules if name.split(".")[0] == "edited"]:
        del sys.modules[name]


@pytest.fixture
def edited(tmp_path, monkeypatch, forget):
    """A package that only an import hook finds."""
    root = tmp_path / "checkout" / "edited"
    root.mkdir(parents=True)
    (root / "__init__.py").write_text("import threading\nlock = threading.Lock()\n")
    (root / "sub.py").write_text(
        "from . import lock\nclass C: pass\ndef f():\n    with lock: return __name__\n"
    )
    hook = Hook("edited", root / "__init__.py", [str(root)])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, hook])
    return root


def test_module_of_an_editable_installation_goes_by_name(edited, run):
    sub = importlib.import_module("edited.sub")

    outcome = run(sub.f)
    assert outcome.value == "edited.sub"
    assert "edited.sub" in outcome.modules
    assert run(lambda: sub.C.__module__).value == "edited.sub"

    def imports_it():
        from edited import sub  # type: ignore[import-not-found]

        return sub.f()

    assert run(imports_it).value == "edited.sub"


def test_module_of_a_hook_with_a_loader_of_its_own_goes_by_value(
    tmp_path, monkeypatch, run, forget
):
    class Loader(importlib.machinery.SourceFileLoader):
        pass

    file = tmp_path / "edited.py"
    file.write_text("def f(): return __name__\n")

    class Finder(Hook):
        def find_spec(self, name, path=None, target=None):
            if name == "edited":
                return importlib.util.spec_from_loader(name, Loader(name, str(file)))
            return None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder("edited", file)])
    edited = importlib.import_module("edited")
    outcome = run(edited.f)
    assert outcome.value == "edited"
    assert "edited" not in outcome.modules


def test_module_object_with_a_loader_that_cannot_be_sent(tmp_path, run):
    path = tmp_path / "loaded.py"
    path.write_text("K = 4\ndef f(): return K\n")
    module = load_from(path, "loaded_module_object")
    module.__loader__ = iter(())
    try:
        assert run(lambda: module.f() + module.K).value == 8
    finally:
        del sys.modules["loaded_module_object"]


def test_exec_namespace_goes_by_value(run):
    namespace: dict[str, Any] = {"__name__": "nowhere"}
    exec("class C:\n    x = 1\ndef f(): return C().x", namespace)
    assert run(namespace["f"]).value == 1
    namespace = {}
    exec("def g(): return 2", namespace)
    assert run(namespace["g"]).value == 2


def test_type_variable_of_a_module_from_a_path(tmp_path, run):
    path = tmp_path / "generic.py"
    path.write_text(
        "import typing\nT = typing.TypeVar('T', bound=int)\nclass Box(typing.Generic[T]): pass\n"
        "def f(): return (Box[T].__args__[0] is T, T.__bound__ is int)\n"
    )
    module = load_from(path, "generic_from_path")
    try:
        assert run(module.f).value == (True, True)
    finally:
        del sys.modules["generic_from_path"]


def test_module_registered_with_cloudpickle_goes_by_value(package, run):
    import mine

    cloudpickle.register_pickle_by_value(mine)
    try:
        outcome = run(mine.f)
    finally:
        cloudpickle.unregister_pickle_by_value(mine)
    assert outcome.value == "mine"
    assert "mine" not in outcome.modules


def test_found_by_name_follows_the_path(package, monkeypatch):
    import mine

    assert references.found_by_name(mine)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(package)])
    assert not references.found_by_name(mine)


@pytest.mark.parametrize("name", ["sys", "os", "posixpath", "json.decoder", "_json", "zipimport"])
def test_standard_modules_are_found_by_name(name):
    assert references.found_by_name(__import__(name, fromlist=["x"]))


def test_namespace_package_is_found_by_name(tmp_path, monkeypatch):
    (tmp_path / "spread" / "part").mkdir(parents=True)
    (tmp_path / "spread" / "part" / "leaf.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    import spread.part.leaf  # type: ignore[import-not-found]

    assert references.found_by_name(spread)
    assert references.found_by_name(spread.part.leaf)


def test_imports_of_the_code_that_are_loaded():
    for name in ("email.message", "json.decoder", "xml.etree.ElementTree"):
        importlib.import_module(name)

    def f():
        import json.decoder as d
        from xml import etree

        import not_loaded_anywhere  # type: ignore[import-not-found]

        def inner():
            from email.message import Message

            return Message

        return d, etree, inner, not_loaded_anywhere

    assert dump_payload(f).imports == ("json.decoder", "xml", "xml.etree", "email.message")
    assert "not_loaded_anywhere" not in sys.modules


def test_imports_are_relative_to_the_package(package, run):
    import mine.other  # type: ignore[import-not-found]
    import mine.sub

    assert dump_payload(mine.sub.lazy).imports == ("mine", "mine.other")
    assert run(mine.sub.lazy).value == 5


def test_imports_of_partials_and_methods(package):
    def f(n):
        import json as j

        return j

    class C:
        def get(self):
            import json.decoder as d

            return d

    importlib.import_module("json.decoder")
    assert dump_payload(functools.partial(f, 1)).imports == ("json",)
    assert dump_payload(C().get).imports == ("json.decoder",)


def test_imports_happen_before_the_function_runs(run):
    import colorsys

    def f():
        before = "colorsys" in __import__("sys").modules
        import colorsys

        return before, colorsys.__name__

    assert colorsys
    assert run(f).value == (True, "colorsys")


def test_imports_that_fail_are_left_to_the_function(package, run):
    import mine.other

    assert mine.other

    def f():
        try:
            from mine import other
        except ImportError:
            return "without"
        return other.__name__

    assert run(f, path=[each for each in sys.path if each != str(package)]).value == "without"


def test_preload_is_imported(run):
    def f():
        return "colorsys" in __import__("sys").modules

    assert run(f).value is False
    assert run(f, preload=["colorsys"]).value is True
