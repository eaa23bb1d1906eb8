from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pycontainer
from pycontainer.declare.entries import Symlink
from pycontainer.declare.mounts import Mount
from pycontainer.host import mounts
from pycontainer.host.mounts import host_network, host_python, host_system

from_here = str(Path(pycontainer.__file__).parent.parent)


def binds(view) -> list[Mount]:
    return [one for one in view if isinstance(one, Mount)]


def links(view) -> dict[str, str]:
    return {one.path: one.to for one in view if isinstance(one, Symlink)}


def targets_in(python: str, *, cwd: Path, script: Path, env: dict[str, str] | None = None) -> list:
    """The targets of host_python(), as a script run by *python* sees them."""
    script.write_text(
        "import json, sys\n"
        "import importlib.util\n"
        "sys.path.append(sys.argv[1])\n"
        "sys.path.append(sys.argv[2])\n"
        "from pycontainer.host.mounts import host_python\n"
        "print(json.dumps([[getattr(m, 'target', None) or m.path, getattr(m, 'to', None)]\n"
        "                  for m in host_python()]))\n"
    )
    packages = os.path.dirname(os.path.dirname(sys.modules["attrs"].__file__ or ""))
    finished = subprocess.run(
        [python, str(script), from_here, packages],
        cwd=cwd,
        env={"PATH": os.defpath, **(env or {})},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def enacted(pairs: list) -> list:
    from pycontainer.declare.entries import symlink
    from pycontainer.declare.mounts import bind

    return [symlink(place, to) if to else bind(place) for place, to in pairs]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a virtual environment in it, "venv", and a file of its own, "secret"."""
    make_venv(tmp_path / "venv")
    (tmp_path / "secret").write_text("nobody's business")
    return tmp_path


def make_venv(place: Path) -> None:
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run(
        [base, "-m", "venv", "--without-pip", str(place)], check=True, timeout=60, cwd="/"
    )


# host_python


def test_host_python(in_empty_root):
    code = "import ssl, sqlite3, ctypes, decimal, numpy, json, sys; print(sys.prefix)"
    finished = in_empty_root(host_python(), [sys.executable, "-c", code])
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.strip() == sys.prefix


def test_host_python_executable_can_start_itself(in_empty_root):
    code = "import subprocess, sys; print(subprocess.check_output([sys.executable, '-c', '6*7']))"
    finished = in_empty_root(host_python(), [sys.executable, "-c", code])
    assert (finished.returncode, finished.stderr) == (0, "")


def test_host_python_shows_little_else(in_empty_root):
    code = "import os; print(sorted(os.listdir('/')), os.path.exists('/usr/bin/env'))"
    finished = in_empty_root(host_python(), [sys.executable, "-c", code])
    assert finished.stderr == ""
    assert "'var'" not in finished.stdout
    if sys.base_prefix == "/usr":
        assert finished.stdout.strip().endswith("False")


def test_host_python_is_read_only():
    assert not any(one.writable for one in binds(host_python()))


def test_host_python_shows_nothing_twice():
    shown = [one.target for one in binds(host_python())]
    assert len(set(shown)) == len(shown)
    plain = [place for place in shown if os.path.realpath(place) == place]
    for place in plain:
        assert not any(place.startswith(other + "/") for other in plain), place


def test_host_python_is_the_same_object_again():
    assert host_python() is host_python()


@pytest.mark.parametrize("top", ["/bin", "/lib", "/lib64", "/sbin"])
def test_host_python_top_level_link_stays_a_link(top):
    if not os.path.islink(top):
        assert top not in links(host_python())
    elif top in links(host_python()):
        assert links(host_python())[top] == os.readlink(top)


def test_host_python_path_is_shown(tmp_path, in_empty_root):
    (tmp_path / "mine.py").write_text("answer = 42\n")
    code = f"import sys; sys.path.append({str(tmp_path)!r}); import mine; print(mine.answer)"
    finished = in_empty_root(host_python(path=[tmp_path]), [sys.executable, "-c", code])
    assert (finished.stdout, finished.stderr) == ("42\n", "")


def test_host_python_path_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lib").mkdir()
    (bound,) = set(host_python(path=["lib"])) - set(host_python())
    assert isinstance(bound, Mount)
    assert bound.source == str(tmp_path / "lib")


def test_host_python_path_one_string_is_one_path(tmp_path):
    assert host_python(path=str(tmp_path)) == host_python(path=[tmp_path])


def test_host_python_path_link_is_shown_where_it_is_and_where_it_leads(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    shown = set(host_python(path=[tmp_path / "link"])) - set(host_python())
    assert {one.target for one in binds(shown)} == {str(tmp_path / "real"), str(tmp_path / "link")}


def test_host_python_leaves_out_script_folder_cwd_and_pythonpath(tmp_path, project):
    for name in ("script", "cwd", "pythonpath"):
        (tmp_path / name).mkdir()
    shown = targets_in(
        str(project / "venv/bin/python"),
        cwd=tmp_path / "cwd",
        script=tmp_path / "script" / "main.py",
        env={"PYTHONPATH": str(tmp_path / "pythonpath")},
    )
    below = [place for place, _ in shown if place.startswith(str(tmp_path))]
    assert below == [str(project / "venv")]


def test_host_python_venv(project, in_empty_root):
    python = str(project / "venv/bin/python")
    shown = targets_in(python, cwd=Path("/"), script=project / "main.py")
    code = "import sys, ssl; print(sys.prefix != sys.base_prefix)"
    finished = in_empty_root(enacted(shown), [python, "-c", code])
    assert (finished.stdout, finished.stderr) == ("True\n", "")


def test_host_python_venv_in_the_top_of_a_project(project, in_empty_root):
    make_venv(project)
    (project / "src").mkdir()
    python = str(project / "bin/python")
    shown = targets_in(python, cwd=Path("/"), script=project / "main.py")
    code = f"import sys, os; print(sys.prefix, os.path.exists({str(project / 'secret')!r}))"
    finished = in_empty_root(enacted(shown), [python, "-c", code])
    assert (finished.stdout, finished.stderr) == (f"{project} False\n", "")


def test_host_python_prefix_through_a_link(project, in_empty_root):
    (project / "current").symlink_to("venv")
    python = str(project / "current/bin/python")
    shown = targets_in(python, cwd=Path("/"), script=project / "main.py")
    finished = in_empty_root(enacted(shown), [python, "-c", "import sys, ssl; print(sys.prefix)"])
    assert (finished.stdout, finished.stderr) == (f"{project / 'current'}\n", "")


def test_loader_directories_follow_includes(tmp_path):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "ld.so.conf").write_text(
        "# a comment\ninclude conf.d/*.conf\n/opt/one/lib # why\nhwcap 1 x\n"
    )
    (tmp_path / "conf.d/a.conf").write_text("/opt/two/lib\n")
    (tmp_path / "conf.d/b.conf").write_text("include ../ld.so.conf\n")  # for ever
    found = list(mounts._configured_loader_directories(str(tmp_path / "ld.so.conf")))
    assert set(found) == {"/opt/one/lib", "/opt/two/lib"}


# host_system


def test_host_system(in_empty_root):
    finished = in_empty_root(host_system(), ["/bin/sh", "-c", "echo b a | tr ' ' '\\n' | sort"])
    assert (finished.stdout, finished.stderr) == ("a\nb\n", "")


def test_host_system_shows_no_home_and_no_accounts():
    for one in binds(host_system()):
        assert not one.target.startswith(("/home", "/root", "/var", "/tmp"))
        assert one.target not in ("/etc", "/etc/passwd", "/etc/shadow")
        assert not one.writable


def test_host_system_top_level_links_stay_links():
    view = host_system()
    for top in ("/bin", "/sbin", "/lib"):
        if os.path.islink(top):
            assert links(view)[top] == os.readlink(top)
        else:
            assert top in {one.target for one in binds(view)}


# host_network


def test_host_network_resolver():
    targets = {one.target for one in binds(host_network())}
    for place in ("/etc/resolv.conf", "/etc/hosts", "/etc/services"):
        assert (place in targets) == os.path.exists(place)


def test_host_network_certificates(in_empty_root):
    code = "import ssl; print(len(ssl.create_default_context().get_ca_certs()) > 0)"
    outside = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    finished = in_empty_root((*host_python(), *host_network()), [sys.executable, "-c", code])
    assert (finished.stdout, finished.stderr) == (outside.stdout, "")


def test_host_network_no_private_keys():
    for one in binds(host_network()):
        assert one.target not in ("/etc/ssl", "/etc/pki", "/etc/pki/tls")
        assert "private" not in one.target


def test_host_network_file_behind_a_link(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/stub").write_text("nameserver 127.0.0.53\n")
    (tmp_path / "resolv.conf").symlink_to("run/stub")
    monkeypatch.setattr(mounts, "NETWORK", (str(tmp_path / "resolv.conf"), "/nonexistent"))
    (bound,) = host_network()
    assert isinstance(bound, Mount)
    assert bound.target == str(tmp_path / "resolv.conf")


# together


@pytest.mark.parametrize("order", ["pns", "snp", "nps"])
def test_views_combined(order, in_empty_root):
    views = {"p": host_python(), "n": host_network(), "s": host_system()}
    combined = [one for letter in order for one in views[letter]]
    unique = list(dict.fromkeys(combined))
    code = "import ssl, subprocess; print(subprocess.check_output(['/bin/sh', '-c', 'echo hello']))"
    finished = in_empty_root(unique, [sys.executable, "-c", code])
    assert (finished.stdout, finished.stderr) == ("b'hello\\n'\n", "")


@pytest.mark.parametrize("order", ["pns", "snp", "nps"])
def test_views_combined_in_a_declaration(order):
    from pycontainer.declare.container import Container

    views = {"p": host_python(), "n": host_network(), "s": host_system()}
    Container([views[letter] for letter in order])


def test_views_in_a_container_of_ours():
    from pycontainer import call_with_container

    def look() -> tuple[bytes, bool, bool]:
        import os
        import sqlite3
        import ssl
        import subprocess
        import sys

        certificates = ssl.create_default_context().get_ca_certs()
        start = [sys.executable, "-c", "import decimal, ssl, sqlite3; print('started')"]
        assert sqlite3.sqlite_version
        return subprocess.check_output(start), bool(certificates), os.path.exists("/usr/bin/env")

    certificates = os.path.exists("/etc/ssl/certs/ca-certificates.crt")
    everything = [host_python(), host_network(), host_system()]
    assert call_with_container(everything, look) == (b"started\n", certificates, True)
    assert call_with_container([host_python()], look)[0] == b"started\n"
