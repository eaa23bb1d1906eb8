"""Commands as click has them: help, and command lines that are not plain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

try:
    import click
except ModuleNotFoundError as error:
    if error.name != "click":
        raise
    raise ModuleNotFoundError(
        "help and messages about options need click: pip install 'pycontainer-linux[cli]'",
        name="click",
    ) from None

from .option import Option
from .parse import MisuseError, Parsed, names_of

__all__ = ["read"]


class OrderedCommand(click.Command):
    """A command that keeps the order of its options, and gives their arguments as they are."""

    def __init__(
        self,
        name: str,
        options: Sequence[Option],
        *,
        help: str,
        epilog: str,
        usage: str,
        interspersed: bool,
    ) -> None:
        self.options = options
        self.usage = usage
        self.parsed: Parsed = ([], [])
        params: list[click.Parameter] = [_param(option) for option in options]
        super().__init__(name, params=params, help=help, epilog=epilog)
        self.context_settings = {
            "allow_interspersed_args": interspersed,
            "ignore_unknown_options": False,
            "help_option_names": ["--help", "-h"],
        }

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [self.usage]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        values, rest, order = self.make_parser(ctx).parse_args(args=args)
        taken: dict[str, int] = {}
        given = []
        for param in order:
            option = _option_of(param, self.options)
            if option is None or param.name is None:  # help, the only one that is click's own
                click.echo(ctx.get_help())
                ctx.exit()
            value: Any = ()
            if option.takes:
                number = taken[param.name] = taken.get(param.name, -1) + 1
                value = values[param.name][number]
            given.append((option.names[0], (value,) if isinstance(value, str) else tuple(value)))
        self.parsed = given, rest
        return []

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for option in self.options:
            rows = groups.setdefault(option.group, [])
            rows.append((", ".join(option.names) + " " + " ".join(option.takes), option.words))
        groups["This page"] = [("--help, -h", "Show it.")]
        for group, rows in groups.items():
            with formatter.section(group):
                formatter.write_dl(rows, col_max=28)


def _param(option: Option) -> click.Option:
    declarations = [*option.names, _variable(option)]
    if not option.takes:
        return click.Option(declarations, count=True, help=option.words)
    return click.Option(
        declarations,
        nargs=len(option.takes),
        multiple=True,
        type=click.UNPROCESSED,
        help=option.words,
    )


def _variable(option: Option) -> str:
    return "given_" + option.names[0].strip("-").replace("-", "_")


def _option_of(param: click.Parameter, options: Sequence[Option]) -> Option | None:
    return next((option for option in options if _variable(option) == param.name), None)


def read(
    name: str,
    options: Sequence[Option],
    arguments: list[str],
    *,
    help: str,
    epilog: str,
    usage: str,
    elsewhere: Mapping[str, str],
    interspersed: bool,
) -> Parsed:
    """Read a command line, or print help and exit.  The arguments are those of ``reading.read``.

    Raises:
        MisuseError: it is wrong; its notes say what to do.
        SystemExit: after ``--help``.
    """
    command = OrderedCommand(
        name.rpartition(" ")[2],
        options,
        help=help,
        epilog=epilog,
        usage=usage,
        interspersed=interspersed,
    )
    try:
        context = command.make_context(name, arguments, max_content_width=100)
        assert context is not None
    except click.exceptions.Exit as done:
        raise SystemExit(done.exit_code) from None
    except click.NoSuchOption as error:
        misuse = MisuseError(f"there is no option {error.option_name}")
        if error.option_name in elsewhere:
            misuse.add_note(elsewhere[error.option_name])
        else:
            near = _nearest(error.option_name, names_of(options))
            if near:
                misuse.add_note(f"did you mean {near}?")
        raise misuse from None
    except click.UsageError as error:
        raise MisuseError(error.format_message()) from None
    return command.parsed


def _nearest(name: str, names: dict[str, Option]) -> str:
    from difflib import get_close_matches

    return " or ".join(get_close_matches(name, names, n=2, cutoff=0.6))
