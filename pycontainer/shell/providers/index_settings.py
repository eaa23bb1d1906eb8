"""The caller's settings for package indexes, from where pip reads them, for pip and for uv.

Only what says from where and what packages come; where pip would put them is not the caller's here.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterator, Mapping

__all__ = ["index_settings", "uv_settings"]

SETTINGS = (
    "cert",
    "client-cert",
    "constraint",
    "default-timeout",
    "extra-index-url",
    "find-links",
    "index-url",
    "no-binary",
    "no-index",
    "only-binary",
    "pre",
    "prefer-binary",
    "proxy",
    "timeout",
    "trusted-host",
)

UV_VARIABLES = {
    "cert": "SSL_CERT_FILE",
    "constraint": "UV_CONSTRAINT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "extra-index-url": "UV_EXTRA_INDEX_URL",
    "find-links": "UV_FIND_LINKS",
    "index-url": "UV_INDEX_URL",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
    "trusted-host": "UV_INSECURE_HOST",
}
"""What uv can be told as well."""

UV_OWN = ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")


def index_settings() -> dict[str, str]:
    """Options of pip about indexes, by name: of its files, then of PIP_… variables, the last one
    counts."""
    found: dict[str, str] = {}
    for path in _configuration_files():
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (OSError, configparser.Error, UnicodeDecodeError):
            continue  # pip itself would say so; here the index matters
        for section in ("global", "install"):
            if parser.has_section(section):
                for name, value in parser.items(section):
                    found[name.replace("_", "-").lower()] = " ".join(value.split())
    for name, value in os.environ.items():
        if name.startswith("PIP_") and value:
            found[name[4:].replace("_", "-").lower()] = value
    return {name: found[name] for name in SETTINGS if found.get(name)}


def _configuration_files() -> Iterator[str]:
    """pip's files in the order in which it reads them ("Configuration" in pip's manual)."""
    chosen = os.environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return
    for directory in reversed(os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")):
        yield os.path.join(directory, "pip", "pip.conf")
    yield "/etc/pip.conf"
    home = os.path.expanduser("~")
    yield os.path.join(home, ".pip", "pip.conf")
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    yield os.path.join(base, "pip", "pip.conf")
    yield os.path.join(sys.prefix, "pip.conf")
    if chosen:
        yield chosen


def uv_settings(settings: Mapping[str, str]) -> dict[str, str] | None:
    """*settings* as variables of uv; None if there is one that it does not have.

    With more than one index pip takes the best version of all, uv that of the first index that has
    the package at all: it is told to do as pip does.
    """
    if not set(settings) <= set(UV_VARIABLES):
        return None
    env = {UV_VARIABLES[name]: value for name, value in settings.items()}
    env["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    env["UV_NO_CACHE"] = "1"
    env["UV_NO_CONFIG"] = "1"
    env["UV_COMPILE_BYTECODE"] = "1"
    env["UV_PYTHON_DOWNLOADS"] = "never"
    env["UV_HTTP_RETRIES"] = "1"
    return env | {name: os.environ[name] for name in UV_OWN if os.environ.get(name)}
