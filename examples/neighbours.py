"""A server on a network of its own, and visitors to it: each excursion is a new process there."""

import functools
import http.server
import os
import tempfile
import urllib.request
from pathlib import Path

import pycontainer as pc


def serve() -> None:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory="/site")
    server = http.server.HTTPServer(("127.0.0.1", 8000), handler)
    print("listening", flush=True)
    server.serve_forever()


def fetch() -> str:
    with urllib.request.urlopen("http://127.0.0.1:8000/hello.txt", timeout=5) as answer:
        return str(answer.read().decode().strip())


def what_is_here() -> list[str]:
    return sorted(os.listdir("/"))


with tempfile.TemporaryDirectory() as site:
    Path(site, "hello.txt").write_text("hello from inside\n")
    with pc.start_container(
        [pc.host_python(), pc.bind(site, "/site")],
        serve,
        stdout=pc.PIPE,
        stderr=pc.DEVNULL,
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        print("in its container:", pc.container_excursion(server, what_is_here))
        # The files of the host and the network of the container.
        answer = pc.container_excursion(server, fetch, namespaces={"net"})
        print("in its network:  ", answer)
        server.kill()
