"""Row 34: the keyring (runc#453).

Keys hang on the session, not on files or ids, so a process keeps its caller's session keyring into
any namespace.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import pycontainer

CALLER = """
    import ctypes, errno, json, os, platform, sys
    from pycontainer import call_with_container

    ADD_KEY, REQUEST_KEY, KEYCTL = (
        (248, 249, 250) if platform.machine() == "x86_64" else (217, 218, 219)
    )
    SESSION, USER, USER_SESSION, PROCESS, THREAD = -3, -4, -5, -2, -1
    libc = ctypes.CDLL(None, use_errno=True)

    def system_call(*arguments):
        value = libc.syscall(
            *[ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
        )
        return value if value >= 0 else errno.errorcode[ctypes.get_errno()]

    def add(where, name):
        key = system_call(ADD_KEY, b"user", name, b"secret", 6, where)
        assert isinstance(key, int), key
        return key

    method = sys.argv[1]
    system_call(KEYCTL, 1, None)  # KEYCTL_JOIN_SESSION_KEYRING: not the tester's own
    # The helper takes its state when it starts; a key that comes later hangs on the same keyring.
    early = add(SESSION, b"early")
    call_with_container([], lambda: None, start_method=method, timeout=20)
    keys = {
        "early": early,
        "late": add(SESSION, b"late"),
        "user": add(USER, b"of the user"),
    }
    numbers = ADD_KEY, REQUEST_KEY, KEYCTL

    def fn():
        import ctypes, errno

        libc = ctypes.CDLL(None, use_errno=True)
        add_key, request_key, keyctl = numbers

        def system_call(*arguments):
            value = libc.syscall(
                *[ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
            )
            return value if value >= 0 else errno.errorcode[ctypes.get_errno()]

        found = {}
        for name in (b"early", b"late", b"of the user"):
            found[name.decode()] = [
                system_call(keyctl, 10, where, b"user", name, 0)  # KEYCTL_SEARCH
                for where in (-3, -4, -5)
            ] + [system_call(request_key, b"user", name, None, 0)]
        buffer = ctypes.create_string_buffer(64)
        reads = [system_call(keyctl, 11, key, buffer, 64) for key in keys.values()]  # KEYCTL_READ
        # The keyring is the container's own to use.
        mine = system_call(add_key, b"user", b"mine", b"x", 1, -3)
        return found, reads, isinstance(mine, int), b"secret" in buffer.raw

    options = {"preload": ["ctypes"]} if method == "forkserver" else {}
    print(json.dumps(call_with_container([], fn, start_method=method, timeout=20, **options)))
    system_call(KEYCTL, 9, keys["user"], USER)  # KEYCTL_UNLINK
"""


@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_keys_of_the_caller(method):
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CALLER), method],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found, reads, usable, leaked = json.loads(ran.stdout)
    for name, answers in found.items():
        assert set(answers) <= {"ENOKEY", "EACCES"}, (name, answers)
        assert answers[0] == answers[-1] == "ENOKEY", (name, answers)
    assert set(reads) <= {"ENOKEY", "EACCES", "EPERM"}, reads
    assert usable
    assert not leaked


# A user of its own, whose quota is nobody else's.
QUOTA = """
    import ctypes, errno, json, platform, sys
    from pycontainer import SetupError, call_with_container, container_excursion, start_container

    ADD_KEY, _, KEYCTL = (248, 249, 250) if platform.machine() == "x86_64" else (217, 218, 219)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(KEYCTL, 1, None)

    def fill():
        number = 0
        while libc.syscall(ADD_KEY, b"user", b"secret %d" % number, b"x", 1, -3) >= 0:
            number += 1
        assert ctypes.get_errno() == errno.EDQUOT

    def fn():
        import ctypes

        # KEYCTL_SEARCH in the session keyring, and below it.
        return ctypes.CDLL(None).syscall(numbers, 10, -3, b"user", b"secret 0", 0)

    numbers = KEYCTL
    said = []

    def call(**options):
        try:
            if options.get("start_method") != "fork":
                options["preload"] = ["ctypes"]
            said.append(call_with_container([], fn, timeout=20, **options))
        except SetupError as error:
            said.append([error.errno == errno.EDQUOT, error.step, *error.__notes__])

    fill()
    call()
    call(start_method="fork")
    libc.syscall(KEYCTL, 7, -3)  # KEYCTL_CLEAR
    call()
    fill()
    call()
    call(start_method="fork")
    with start_container([]) as running:
        said.append(container_excursion(running, fn, preload=["ctypes"]))
    print(json.dumps(said))
"""


@pytest.mark.is_root
def test_no_key_is_left_for_a_new_keyring():
    """Nothing starts that would keep the caller's; under a helper the helper's own is kept."""
    package = str(Path(pycontainer.__file__).parents[1])
    ran = subprocess.run(
        ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups",
         sys.executable, "-c", textwrap.dedent(QUOTA)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": package, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
        timeout=50,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    early, early_fork, freed, late, late_fork, visitor = json.loads(ran.stdout)
    for refused in (early, early_fork, late_fork):
        assert refused[0] and "keyring" in refused[1] and "key-users" in refused[2], refused
    assert freed == late == visitor == -1
