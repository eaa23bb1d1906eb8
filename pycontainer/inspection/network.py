"""A network namespace as /proc/PID/net shows it, without entering it.

It is the caller's own /proc, in which the directory "net" of a process is that of its namespace
(proc_net(5)).  It has no names of states and no IPv4 addresses by interface: these are found by the
routes to their networks.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping

from .procfs import ProcessDirectory
from .report import Interface, Listener, Network

__all__ = ["read_network"]

_TCP_LISTEN = "0A"  # include/net/tcp_states.h
_UNCONNECTED = "07"  # TCP_CLOSE, which is what a UDP socket without a peer is in
_ACCEPTS = 1 << 16  # __SO_ACCEPTCON, include/linux/net.h
_UNIX = re.compile(
    r"[0-9a-fA-F]+: [0-9A-F]{8} [0-9A-F]{8} ([0-9A-F]{8}) [0-9A-F]{4} [0-9A-F]{2} +(\d+) (.+)",
    re.DOTALL,
)
_GATEWAY = 0x2  # RTF_GATEWAY, include/uapi/linux/route.h


def read_network(
    directory: ProcessDirectory, own: bool, sockets: Mapping[int, Iterable[int]]
) -> Network:
    """The interfaces and listeners of a process's network namespace.

    Arguments:
        own: it is not the host's.
        sockets: inode numbers of the container's sockets, with the pids that hold each.

    Raises:
        OSError: ESRCH: the process has ended.
    """
    listeners = tuple(
        Listener(protocol, address, port, tuple(sorted(set(sockets.get(inode, ())))))
        for protocol, address, port, inode in _listeners(directory)
        if own or inode in sockets
    )
    if not own:
        return Network(False, (), listeners)
    counted = _counters(directory)
    addresses: dict[str, list[str]] = {name: [] for name in counted}
    for name, address in (*_version_4(directory, list(counted)), *_version_6(directory)):
        addresses.setdefault(name, []).append(address)
    return Network(
        True,
        tuple(
            Interface(name, tuple(addresses[name]), *counted.get(name, (0, 0)))
            for name in addresses
        ),
        listeners,
    )


def _lines(directory: ProcessDirectory, name: str, headings: int) -> list[str]:
    """The lines of a table; none where the kernel has no such table."""
    try:
        return directory.text(f"net/{name}").split("\n")[headings:-1]
    except FileNotFoundError:
        return []


def _counters(directory: ProcessDirectory) -> dict[str, tuple[int, int]]:
    """Interface → bytes received and sent."""
    found = {}
    for line in _lines(directory, "dev", 2):
        name, _, numbers = line.rpartition(":")  # a name has no colon: dev_valid_name()
        fields = numbers.split()
        found[name.lstrip(" ")] = int(fields[0]), int(fields[8])
    return found


def _version_4(directory: ProcessDirectory, names: list[str]) -> Iterator[tuple[str, str]]:
    local = list(_local(directory))
    networks = [(length, number, "lo") for length, number in local if length < 32]
    networks = sorted([*networks, *_networks(directory)], reverse=True)
    others = [name for name in names if name != "lo"] or names
    for length, number in dict.fromkeys(local):
        if length < 32:
            continue
        address = socket.inet_ntoa(number.to_bytes(4, "big"))
        for bits, network, name in networks:
            if bits and number >> (32 - bits) == network >> (32 - bits):
                yield name, f"{address}/{bits}"
                break
        else:  # no route leads to its neighbours, as there are none
            yield others[0] if len(others) == 1 else "?", f"{address}/32"


def _networks(directory: ProcessDirectory) -> Iterator[tuple[int, int, str]]:
    """Bits of the mask, network and interface of each route to a neighbour."""
    for line in _lines(directory, "route", 1):
        fields = line.split("\t")  # a name may hold what str takes for a blank
        if not int(fields[3], 16) & _GATEWAY:
            network, mask = (
                int.from_bytes(int(fields[n], 16).to_bytes(4, sys.byteorder), "big") for n in (1, 7)
            )
            yield mask.bit_count(), network, fields[0]


def _local(directory: ProcessDirectory) -> Iterator[tuple[int, int]]:
    """Bits and number of each route to this network namespace itself.

    Its addresses have 32 bits; what has fewer is a network that loops back as a whole.
    """
    number = 0
    for line in _lines(directory, "fib_trie", 0):
        words = line.split()
        if words and words[0] == "|--":
            number = int.from_bytes(socket.inet_aton(words[1]), "big")
        elif words[1:] == ["host", "LOCAL"]:
            yield int(words[0][1:]), number


def _version_6(directory: ProcessDirectory) -> Iterator[tuple[str, str]]:
    for line in _lines(directory, "if_inet6", 0):
        # The name comes last, and is padded in front.
        number, _, length, _, _, name = line.split(maxsplit=5)
        address = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(number))
        yield name, f"{address}/{int(length, 16)}"


def _listeners(directory: ProcessDirectory) -> Iterator[tuple[str, str, int | None, int]]:
    """Protocol, address, port and inode number of each."""
    for table, state in (
        ("tcp", _TCP_LISTEN),
        ("tcp6", _TCP_LISTEN),
        ("udp", _UNCONNECTED),
        ("udp6", _UNCONNECTED),
    ):
        for line in _lines(directory, table, 1):
            fields = line.split()
            if fields[3] == state:
                address, _, port = fields[1].partition(":")
                yield table.rstrip("6"), _address(address), int(port, 16), int(fields[9])
    for line in _lines(directory, "unix", 1):
        # Num RefCount Protocol Flags Type St Inode Path.  A path may hold newlines too, so that any
        # line may be made up; at worst it is one more socket that the container could have made.
        found = _UNIX.fullmatch(line)
        if found and int(found[1], 16) & _ACCEPTS:
            yield "unix", found[3], None, int(found[2])


def _address(text: str) -> str:
    """Words of 32 bits in the processor's order, as net/ipv4/tcp_ipv4.c prints them."""
    words = [text[at : at + 8] for at in range(0, len(text), 8)]
    raw = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def sockets_of(links: Iterable[tuple[int, str]]) -> dict[int, list[int]]:
    """Inode numbers of sockets → pids, from (pid, target of a descriptor)."""
    found: dict[int, list[int]] = {}
    for pid, target in links:
        if target.startswith("socket:[") and target.endswith("]"):
            found.setdefault(int(os.path.basename(target)[8:-1]), []).append(pid)
    return found
