"""Where inputs, scratch paths and paths of the host may lie: inside of each other too."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from pycontainer.build import (
    AvailableReadOnlyPath,
    BuildRequest,
    DirectoryStore,
    ProvideBinSh,
    build,
)

RUNTIMES: list[Literal["native", "runc", "crun"]] = ["native", "runc", "crun"]

# Fields, what runs (%s is the directory of the test), and what is in each output then.
CASES: dict[str, tuple[dict[str, Any], str, dict[str, str | None]]] = {
    "below the tmpfs at /tmp": (
        {"scratch_paths": ["tmp/x"], "working_dir": "tmp/x"},
        "echo a > o",
        {"tmp/x/o": "a\n"},
    ),
    "in place of /tmp": ({"scratch_paths": ["tmp"]}, "echo a > /tmp/o", {"tmp/o": "a\n"}),
    "a scratch path in another": (
        {"scratch_paths": ["build", "build/in/ner"]},
        "echo a > in/ner/o; echo b > p",
        {"build/in/ner/o": "a\n", "build/p": "b\n"},
    ),
    "paths of the host in each other": (
        {"host": ["%s/host", "%s/host/sub", "%s/file"]},
        "read x < %s/host/sub/file; read y < %s/file; echo $x $y > o",
        {"build/o": "inner outer\n"},
    ),
    "inputs in a scratch path": (
        {"inputs_dir": "build/inputs"},
        "read x < inputs/file; read y < inputs/host/sub/file; echo $x $y > o",
        {"build/o": "outer inner\n"},
    ),
    "inputs in the tmpfs at /tmp": (
        {"inputs_dir": "tmp"},
        "read x < /tmp/file; echo $x > o",
        {"build/o": "outer\n"},
    ),
    "in place of /etc": (
        {"scratch_paths": ["etc"], "working_dir": "etc"},
        "for x in *; do echo $x; done > /etc/o",
        {"etc/o": "o\n"},
    ),
    "an output that is a whole scratch path": (
        {},
        "echo a > o",
        {"build": None},
    ),
}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", CASES)
def test_places(tmp_path, runtime, name):
    fields, script, outputs = CASES[name]
    (tmp_path / "host/sub").mkdir(parents=True)
    (tmp_path / "host/sub/file").write_text("inner\n")
    (tmp_path / "file").write_text("outer\n")
    fields = dict(fields)
    host = [path.replace("%s", str(tmp_path)) for path in fields.pop("host", [])]
    request = BuildRequest(
        inputs={"host": tmp_path / "host", "file": tmp_path / "file"},
        command_args=["/bin/sh", "-ec", script.replace("%s", str(tmp_path))],
        outputs=outputs,
        constraints=[ProvideBinSh(), *map(AvailableReadOnlyPath, host)],
        **fields,
    )
    store = DirectoryStore(tmp_path / "store", durable=False)
    result = build(request, store, runtime=runtime)
    assert set(result.outputs) == set(outputs)
    for path, text in outputs.items():
        if text is not None:
            with open(result.outputs[path].path) as file:
                assert file.read() == text
