"""Builds the floor, and talks to programs that measure one thing a line."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
WARNINGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]


class MeasurementError(Exception):
    """A measurement gave no time; its text says why."""


def build(directory: Path, *, static_floor: bool) -> tuple[Path, Path]:
    """Compiles what is older than its sources; returns the floor and the static ``true``.

    The floor is linked as any C program is, unless ``static_floor`` asks for the lower one.
    ``true`` is static in any case, since it runs in an empty root.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise MeasurementError("there is no C compiler (cc or gcc on PATH, or CC=...)")
    try:
        directory.mkdir(exist_ok=True)
    except OSError:
        pass  # another user's checkout: what is built below is found to be unwritable
    floor = directory / ("floor-static" if static_floor else "floor")
    true = directory / "true"
    inputs = ["floor.c", "floor_setup.c", "floor.h"]
    if stale(floor, inputs) or stale(true, ["true.c"]):
        if not os.access(directory, os.W_OK):
            directory = Path(tempfile.mkdtemp(prefix="pycontainer-floor-"))
            directory.chmod(0o755)
            floor, true = directory / floor.name, directory / "true"
        linking = ["-static"] if static_floor else []
        compile_c(compiler, [*linking, "floor.c", "floor_setup.c"], floor)
        compile_c(compiler, ["-static", "true.c"], true)
    return floor, true


def stale(output: Path, inputs: Sequence[str]) -> bool:
    if not output.exists():
        return True
    return output.stat().st_mtime < max((SOURCES / name).stat().st_mtime for name in inputs)


def compile_c(compiler: str, arguments: Sequence[str], output: Path) -> None:
    done = subprocess.run(
        [compiler, *WARNINGS, "-o", str(output), *arguments],
        cwd=SOURCES,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MeasurementError(f"{output.name} does not compile:\n{done.stderr}")


class Instrument:
    """A process that answers each line with nanoseconds or ``failed: reason``.

    It is started at the first question, and again at the next one after it has died or has been
    killed for taking longer than ``patience`` seconds.
    """

    def __init__(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> None:
        self.argv = list(argv)
        self.cwd = cwd
        self.env = dict(env)
        self.patience = 60.0
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115

    def tell(self, question: str) -> None:
        if self._process is None:
            self._errors.seek(0)
            self._errors.truncate()
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
                cwd=self.cwd,
                env=self.env,
            )
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(question.encode() + b"\n")
        except BrokenPipeError:
            raise self._died("it ended before the question") from None

    def hear(self, count: int = 1) -> list[int]:
        """The next ``count`` answers, in nanoseconds (or, of ``idle``, a pid)."""
        if self._process is None or self._process.stdout is None:
            raise MeasurementError("it was not asked")
        received = b""
        deadline = time.monotonic() + self.patience
        while received.count(b"\n") < count:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise self._died(f"no answer within {self.patience:g} s")
            chunk = os.read(self._process.stdout.fileno(), 65536)
            if not chunk:
                raise self._died(received.decode(errors="replace").strip() or "it ended")
            received += chunk
        answers = received.decode(errors="replace").splitlines()
        for answer in answers:
            if not answer.isdigit():
                raise MeasurementError(answer.removeprefix("failed: "))
        return [int(answer) for answer in answers]

    def ask(self, question: str) -> int:
        self.tell(question)
        return self.hear()[0]

    def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _died(self, reason: str) -> MeasurementError:
        if self._process is not None:
            self._process.kill()
        self.close()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        last = f" ({lines[-1]})" if lines else ""
        return MeasurementError(reason.removeprefix("failed: ") + last)
