"""Virtual environments of the cache: made once, in a container that can write nothing else."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.declare.container import Container
from pycontainer.shell import Cache, Pip, SoftwareError, provide, shell_container
from pycontainer.shell.providers.index_settings import index_settings, uv_settings

PROVIDE = """
import sys
from pycontainer.shell import Cache, Pip, SoftwareError, provide
try:
    print(provide(Pip(sys.argv[2]), cache=Cache(sys.argv[1])).label)
except SoftwareError as error:
    print("SoftwareError:", error)
"""

# A build backend (PEP 517) that says what it can do to whoever installs it, after it has done the
# worst that it can to the environment.
BACKEND = """
import glob, os, time, zipfile

def attempt(path):
    try:
        with open(os.path.join(path, "planted"), "w") as file:
            file.write("planted")
        return "written"
    except OSError as error:
        return type(error).__name__

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    place = os.path.dirname(os.environ["HOME"])
    if os.fork() == 0:
        os.setsid()
        os.closerange(0, 256)  # pip waits for the end of its output
        module = glob.escape(place) + "/lib/python*/site-packages/hostile.py"
        while not glob.glob(module):
            time.sleep(0.001)
        damage(place)  # at the last moment: what pip still does needs the environment
        os._exit(0)
    found = {
        "secret": os.environ.get("SECRET"),
        "pids": len([name for name in os.listdir("/proc") if name.isdigit()]),
        "writable": {path: attempt(path) for path in PLACES},
        "effects": sorted(os.listdir("/")),
    }
    name = "hostile-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as wheel:
        wheel.writestr("hostile.py", "found = " + repr(found))
        wheel.writestr("hostile-1.0.dist-info/METADATA",
                       "Metadata-Version: 2.1\\nName: hostile\\nVersion: 1.0\\n")
        wheel.writestr("hostile-1.0.dist-info/WHEEL",
                       "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("hostile-1.0.dist-info/RECORD", "")
    return name
"""


@pytest.fixture
def index(registry, monkeypatch):
    """A package index of this machine, and nothing of the caller's settings."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"{registry.url}/simple/")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    add(registry, "probe", wheel("probe", "1.0", {"probe.py": "words = 'one'"}))
    add(registry, "probe", wheel("probe", "2.0", {"probe.py": "words = 'two'"}))
    return registry


def wheel(name, version, files, requires=()):
    """The name and the content of a wheel with a program that prints its module's words."""
    info = f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Dist: {one}" for one in requires]
    content = {
        **files,
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:say\n",
    }
    content[f"{name}.py"] += "\ndef say():\n    print(words)\n"
    record = "".join(f"{path},,\n" for path in content) + f"{info}/RECORD,,\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in {**content, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)
    return f"{name}-{version}-py3-none-any.whl", buffer.getvalue()


def add(registry, project, file):
    """Have *registry* offer a file of *project* (PEP 503)."""
    name, content = file
    directory = registry.directory / "simple" / project
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(content)
    links = [
        f'<a href="{one.name}#sha256={hashlib.sha256(one.read_bytes()).hexdigest()}">{one.name}</a>'
        for one in sorted(directory.iterdir())
        if one.suffix != ".html"
    ]
    (directory / "index.html").write_text("<!DOCTYPE html><html><body>" + "\n".join(links))


def run(software, *command):
    done = pc.run_command(
        shell_container(software, cwd=None), command, stdout=pc.PIPE, text=True, check=True
    )
    return done.stdout.strip()


def entries(cache):
    shelf = Path(cache.directory, "pip")
    return sorted(os.listdir(shelf)) if shelf.exists() else []


@pytest.fixture
def no_uv(monkeypatch):
    monkeypatch.setattr("pycontainer.shell.providers.pip_install.shutil.which", lambda _: None)


@pytest.fixture
def with_uv(monkeypatch):
    monkeypatch.setenv("PATH", f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")


def test_from_the_real_index(cache):
    """By the caller's own settings, over the network."""
    software = provide(Pip("iniconfig"), cache=cache)
    script = "import iniconfig; print(iniconfig.__name__, iniconfig.__file__)"
    name, place = run(software, "python", "-c", script).split()
    assert name == "iniconfig"
    assert place.startswith(software.env["VIRTUAL_ENV"])


@pytest.mark.parametrize("tool", ["no_uv", "with_uv"])
def test_newest_version_and_its_program(index, cache, tool, request):
    request.getfixturevalue(tool)
    software = provide(Pip("probe"), cache=cache)
    assert software.label == "probe"
    assert run(software, "probe") == "two"
    place = software.env["VIRTUAL_ENV"]
    assert run(software, "python", "-c", "import probe; print(probe.__cached__)") == (
        f"{place}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/"
        f"__pycache__/probe.{sys.implementation.cache_tag}.pyc"
    )
    (entry,) = entries(cache)
    root = Path(cache.directory, "pip", entry)
    assert not (root / ".scratch").exists()
    assert list(root.rglob("probe.*.pyc"))


def test_cached(index, cache):
    first = provide(Pip(["probe<2", "probe>0"]), cache=cache)
    assert run(first, "probe") == "one"
    asked = len(index.asked)
    second = provide(Pip(["probe>0", "probe<2"]), cache=cache)
    assert second == first
    assert len(index.asked) == asked


def test_requirements_of_a_requirement(index, cache):
    add(index, "upper", wheel("upper", "1.0", {"upper.py": "from probe import words"}, ["probe<2"]))
    assert run(provide(Pip("upper"), cache=cache), "upper") == "one"


def test_two_at_once_fetch_once(index, cache, started):
    index.stalling = "probe-2.0-py3-none-any.whl"
    command = [sys.executable, "-c", PROVIDE, cache.directory, "probe"]
    first = started(command, stdout=subprocess.PIPE, text=True)
    assert index.stalled.wait(40)
    second = started(command, stdout=subprocess.PIPE, text=True)
    index.released.set()
    assert first.communicate(timeout=60)[0] == "probe\n"
    assert second.communicate(timeout=60)[0] == "probe\n"
    assert len([path for path in index.asked if path.endswith(".whl")]) == 1
    assert len(entries(cache)) == 1


def test_sigkill_during_a_fetch_then_again(index, cache, started):
    index.stalling = "probe-2.0-py3-none-any.whl"
    command = [sys.executable, "-c", PROVIDE, cache.directory, "probe"]
    killed = started(command)
    assert index.stalled.wait(40)
    killed.send_signal(signal.SIGKILL)
    killed.wait(60)
    assert all(name.endswith((".new", ".lock")) for name in entries(cache))
    index.stalling = ""
    index.released.set()
    assert run(provide(Pip("probe"), cache=cache), "probe") == "two"
    (entry,) = entries(cache)
    assert not entry.endswith((".new", ".lock"))


@pytest.mark.parametrize("tool", ["no_uv", "with_uv"])
def test_package_that_does_not_exist(index, cache, tool, request):
    request.getfixturevalue(tool)
    with pytest.raises(SoftwareError, match="pip absent: the package index has no absent for this"):
        provide(Pip("absent"), cache=cache)
    assert entries(cache) == []


@pytest.mark.parametrize("tool", ["no_uv", "with_uv"])
def test_version_that_does_not_exist(index, cache, tool, request):
    request.getfixturevalue(tool)
    message = r"no version fits probe==3\.0"
    if tool == "no_uv":
        message += r"; there are 1\.0, 2\.0"
    with pytest.raises(SoftwareError, match=message):
        provide(Pip("probe==3.0"), cache=cache)


def test_requirements_that_contradict_each_other(index, cache, no_uv):
    add(index, "upper", wheel("upper", "1.0", {"upper.py": "from probe import words"}, ["probe<2"]))
    with pytest.raises(SoftwareError, match="these requirements contradict each other"):
        provide(Pip(["upper", "probe==2"]), cache=cache)


@pytest.mark.parametrize("tool", ["no_uv", "with_uv"])
def test_no_network(index, cache, tool, request, monkeypatch):
    request.getfixturevalue(tool)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    with pytest.raises(SoftwareError, match="pip probe: no network: nobody answers"):
        provide(Pip("probe"), cache=cache)
    assert entries(cache) == []


@pytest.mark.parametrize("tool", ["no_uv", "with_uv"])
def test_wrong_digest(index, cache, tool, request):
    request.getfixturevalue(tool)
    page = index.directory / "simple/probe/index.html"
    page.write_text(re.sub("sha256=....", "sha256=0000", page.read_text()))
    with pytest.raises(SoftwareError, match="pip probe: what came is not what its source promises"):
        provide(Pip("probe"), cache=cache)


@pytest.mark.parametrize("size", ["60k", "1m"])
def test_full_disk(index, small_disk, run_script, tmp_path, size):
    """It fills while the environment is made, or while the wheel is unpacked."""
    big = wheel("big", "1.0", {"big.py": "words = ''", "data": os.urandom(2_000_000).hex()})
    add(index, "big", big)
    prefix = small_disk(tmp_path / "disk", size)
    done = run_script(PROVIDE, tmp_path / "disk", "big", prefix=prefix)
    assert "SoftwareError: pip big: no space left in the cache" in done.stdout, done.stderr


def test_full_disk_leaves_nothing(index, small_disk, run_script, tmp_path):
    script = PROVIDE + "import os; print(sorted(os.listdir(sys.argv[1] + '/pip')))"
    big = wheel("big", "1.0", {"big.py": "words = ''", "data": os.urandom(2_000_000).hex()})
    add(index, "big", big)
    done = run_script(script, tmp_path / "disk", "big", prefix=small_disk(tmp_path / "disk", "1m"))
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def hostile(index, damage, places=()):
    """Have *index* offer a source distribution that does *damage* to the environment."""
    buffer = io.BytesIO()
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in {
            "pyproject.toml": project,
            "backend.py": f"PLACES = {list(places)!r}\ndef damage(place):\n    {damage}\n{BACKEND}",
            "PKG-INFO": "Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n",
        }.items():
            info = tarfile.TarInfo(f"hostile-1.0/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    add(index, "hostile", ("hostile-1.0.tar.gz", buffer.getvalue()))


def test_what_is_installed_can_write_the_entry_alone(index, cache, tmp_path, monkeypatch, no_uv):
    monkeypatch.setenv("SECRET", "for nobody else")
    other = tmp_path / "other"
    other.mkdir()
    provide(Pip("probe"), cache=cache)
    (entry,) = entries(cache)
    places = [str(other), os.path.expanduser("~"), cache.directory, "/usr/lib", "/etc", "/opt"]
    places.append(f"{cache.directory}/pip/{entry}")
    hostile(index, "pass", places)
    software = provide(Pip("hostile"), cache=cache)
    script = "import hostile, json; print(json.dumps(hostile.found))"
    found = json.loads(run(software, "python", "-c", script))
    assert found["secret"] is None
    assert found["pids"] < 20
    assert set(found["writable"].values()) <= {"OSError", "FileNotFoundError", "PermissionError"}
    for place in places:
        assert not os.path.exists(os.path.join(place, "planted"))


@pytest.mark.parametrize(
    "damage",
    [
        "p = place + '/bin/python'; os.unlink(p); os.symlink('{secret}/bin/python', p)",
        "open(place + '/pyvenv.cfg', 'w').write('home = {secret}/bin\\nversion = 3.9')",
        "os.unlink(place + '/pyvenv.cfg'); os.symlink('{secret}/cfg', place + '/pyvenv.cfg')",
        "os.rename(place + '/bin', place + '/old'); os.symlink('{secret}/bin', place + '/bin')",
        "os.rename(place + '/.scratch', place + '/s'); os.symlink('{secret}', place + '/.scratch')",
    ],
)
def test_what_is_installed_leads_to_no_file_of_the_hosts(index, cache, tmp_path, damage, no_uv):
    """What a shell shows of the host is found by following the environment, outside."""
    secret = tmp_path / "secret"
    (secret / "bin").mkdir(parents=True)
    (secret / "lib/python3.9").mkdir(parents=True)
    (secret / "lib/python3.9/os.py").touch()
    (secret / "bin/python").write_text("secret")
    (secret / "cfg").write_text(f"home = {secret}/bin\n")
    (secret / "bin").chmod(0o755)
    secret.chmod(0o555)
    hostile(index, damage.format(secret=secret).replace("\n", "\\n"))
    try:
        software = provide(Pip("hostile"), cache=cache)
    except SoftwareError:
        pass  # nor is anything shown then
    else:
        shown = [getattr(item, "source", None) for item in Container(software.mounts).mounts]
        assert [one for one in shown if one and one.startswith(str(secret))] == []
        script = f"import os, hostile; print(os.path.exists({str(secret)!r}))"
        assert run(software, "python", "-c", script) == "False"
    assert (secret / "bin/python").read_text() == "secret"
    assert sorted(os.listdir(secret / "bin")) == ["python"]
    assert (secret / "cfg").read_text() == f"home = {secret}/bin\n"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o555


# ---- settings ----


def test_settings_of_files_and_variables(index, cache, tmp_path, monkeypatch):
    conf = tmp_path / "pip.conf"
    conf.write_text(f"[global]\nindex-url = {index.url}/simple/\n[install]\npre = true\n")
    monkeypatch.delenv("PIP_INDEX_URL")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(conf))
    monkeypatch.setattr("pycontainer.shell.providers.index_settings.os.environ", dict(os.environ))
    assert index_settings()["index-url"] == f"{index.url}/simple/"
    assert index_settings()["pre"] == "true"
    assert run(provide(Pip("probe"), cache=cache), "probe") == "two"


def test_packages_of_a_directory(index, cache, tmp_path, monkeypatch):
    """What a setting names of the host is shown to pip."""
    links = tmp_path / "links"
    links.mkdir()
    name, content = wheel("probe", "3.0", {"probe.py": "words = 'of a directory'"})
    (links / name).write_bytes(content)
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert run(provide(Pip("probe"), cache=cache), "probe") == "of a directory"


@pytest.mark.parametrize("tool", ["no_uv", "with_uv"])
def test_index_on_the_disk(index, cache, tmp_path, monkeypatch, tool, request):
    """Its pages link to files in a directory beside it."""
    request.getfixturevalue(tool)
    pages = tmp_path / "mirror/simple/probe"
    pages.mkdir(parents=True)
    (tmp_path / "mirror/files").mkdir()
    name, content = wheel("probe", "4.0", {"probe.py": "words = 'of the disk'"})
    (tmp_path / "mirror/files" / name).write_bytes(content)
    (pages / "index.html").write_text(f'<a href="../../files/{name}">{name}</a>')
    monkeypatch.setenv("PIP_INDEX_URL", f"file://{tmp_path}/mirror/simple")
    assert run(provide(Pip("probe"), cache=cache), "probe") == "of the disk"


def test_settings_for_uv():
    assert uv_settings({"index-url": "https://a", "cert": "/etc/cert.pem"}) == {
        "UV_INDEX_URL": "https://a",
        "SSL_CERT_FILE": "/etc/cert.pem",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_NO_CACHE": "1",
        "UV_NO_CONFIG": "1",
        "UV_COMPILE_BYTECODE": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_HTTP_RETRIES": "1",
    }
    assert uv_settings({"client-cert": "/etc/mine.pem"}) is None


def test_other_settings_and_packages_are_other_entries(index, monkeypatch):
    asked = []

    def entry(self, kind, key, make, **_):
        asked.append((self.directory, kind, key))
        raise LookupError

    monkeypatch.setattr(Cache, "entry", entry)

    def ask(*requirements):
        with pytest.raises(LookupError):
            provide(Pip(requirements))
        return asked[-1]

    monkeypatch.setenv("XDG_CACHE_HOME", "/home/of/caches")
    first = ask("probe", "other")
    assert first[:2] == ("/home/of/caches/pycontainer", "pip")
    assert ask("other", "probe", "probe") == first
    assert ask("probe") != first
    monkeypatch.setenv("PIP_PRE", "1")
    assert ask("probe", "other") != first
