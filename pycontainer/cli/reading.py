"""Reading a command's line: quickly where it is plain, else as click does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from .parse import Parsed, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .option import Option

__all__ = ["read"]

_NOTHING: Mapping[str, str] = MappingProxyType({})


def read(
    name: str,
    options: Sequence[Option],
    arguments: list[str],
    *,
    help: str,
    epilog: str = "",
    usage: str = "[OPTIONS] [--] COMMAND [ARGUMENTS]...",
    elsewhere: Mapping[str, str] = _NOTHING,
    interspersed: bool = False,
) -> Parsed:
    """The options in their order, by their first names, and the other words.

    Arguments:
        name: the command's, as "pycontainer run".
        options: those that it takes; ``--help`` is there without asking.
        arguments: what follows the command's name.
        help, epilog: what ``--help`` shows above and below the options.
        usage: what follows the name in its usage line.
        elsewhere: options that others have and this has not, with what to use in their place.
        interspersed: options may stand behind other words; else the first word begins a command.

    Raises:
        MisuseError: it is wrong; its notes say what to do.
        SystemExit: after ``--help``.
    """
    parsed = parse(options, arguments, interspersed=interspersed)
    if parsed is None:
        from .with_click import read as read_with_click

        parsed = read_with_click(
            name,
            options,
            arguments,
            help=help,
            epilog=epilog,
            usage=usage,
            elsewhere=elsewhere,
            interspersed=interspersed,
        )
    return parsed
