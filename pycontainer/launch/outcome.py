"""What comes of a function in its container: a value, an exception, or an exit."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal itself loads enum
import os
import sys

from .._native import lib
from . import reconstruct
from .codec.encode import EncodeError, encode_refusal, encode_value
from .codec.exceptions import encode_exception

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .child import Call

__all__ = ["flush", "interrupted", "outcome", "prepare_streams"]


def prepare_streams() -> None:
    """The streams were made for the helper's descriptors: a terminal wants whole lines."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        if stream is not None and os.isatty(number):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def outcome(call: Call, fn: Callable[[], Any]) -> tuple[int, Sequence[Any], int]:
    """What to say and the exit status."""
    try:
        value = fn()
    except SystemExit as error:
        return 0, [], _exit_code(error)
    except KeyboardInterrupt:
        return interrupted()
    except BaseException as error:
        return lib.PC_SAY_EXCEPTION, encode_exception(error, call.allow, call.max_result), 1
    try:
        if call.returns == "pickle":
            import cloudpickle

            reconstruct.classes_to_cloudpickle()
            return lib.PC_SAY_VALUE_PICKLE, [cloudpickle.dumps(value)], 0
        return lib.PC_SAY_VALUE, encode_value(value, call.allow, call.max_result), 0
    except EncodeError as error:
        return lib.PC_SAY_UNENCODABLE, encode_refusal(error), 0
    except KeyboardInterrupt:
        return interrupted()
    except BaseException as error:
        refusal = EncodeError(f"cannot be sent: {type(error).__name__}: {error}", "", "result")
        return lib.PC_SAY_UNENCODABLE, encode_refusal(refusal), 0


def interrupted() -> tuple[int, Sequence[Any], int]:
    """Ended by SIGINT, as far as a process 1 can: the kernel drops the default action."""
    number = int(_signal.SIGINT)
    return lib.PC_SAY_ENDED, [number.to_bytes(4, "little")], 128 + number


def _exit_code(error: SystemExit) -> int:
    """As the interpreter has it: None is 0, a number is itself, anything else is printed."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    try:
        print(error.code, file=sys.stderr)
    except BaseException:
        pass
    return 1


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except BaseException:
            pass  # the reader has gone
