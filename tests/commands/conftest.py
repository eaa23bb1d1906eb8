from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pycontainer import bind, host_system, run_command

Run = Callable[..., object]


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[..., Path]:
    """Compiles the body of a C program's main(), or a whole source."""

    def compile_(source: str, *flags: str) -> Path:
        if "main(" not in source:
            source = f"int main(int argc, char **argv) {{ (void)argc; (void)argv; {source} }}"
        headers = "stdio stdlib string unistd signal errno fcntl sys/wait sys/stat sys/socket"
        includes = "".join(f"#include <{name}.h>\n" for name in headers.split())
        program = tmp_path / "program"
        subprocess.run(
            ["gcc", "-O0", "-w", "-x", "c", "-", "-o", program, *flags],
            input=f"#define _GNU_SOURCE\n{includes}\n{source}\n".encode(),
            check=True,
        )
        return program

    return compile_


@pytest.fixture
def run_c(compiled):
    """Compiles a C program and runs it in a container that has the host's libraries."""

    def run(source, *arguments, mounts=(), flags=(), **options):
        program = compiled(source, *flags)
        options.setdefault("capture_output", True)
        return run_command(
            [host_system(), bind(program, "/program"), *mounts],
            ["/program", *arguments],
            **options,
        )

    return run
