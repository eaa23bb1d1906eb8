"""Row 40: a quiet downgrade.

What was asked for and cannot be had is an error: a wall that is left out is worse than none, since
somebody relies on it.
"""

from __future__ import annotations

import errno
import os
import runpy
from pathlib import Path

import pytest

from pycontainer import (
    NO_SYNC,
    SeccompFilter,
    SetupError,
    call_with_container,
    container_excursion,
    run_command,
    start_container,
)
from pycontainer.launch import filters

REFUSING = Path(__file__).with_name("refusing.py")


@pytest.fixture
def never_ran():
    """A function that must not run."""
    r, w = os.pipe()
    os.set_blocking(r, False)
    yield lambda: os.write(1, b"ran"), w
    with pytest.raises(BlockingIOError):
        os.read(r, 1)
    os.close(r)
    os.close(w)


@pytest.fixture
def without_libseccomp(monkeypatch):
    monkeypatch.setattr(filters, "LIBRARY", "libseccomp.so.none")
    filters._library.cache_clear()
    filters.program_of.cache_clear()
    yield
    filters._library.cache_clear()


def test_the_library_is_missing(without_libseccomp, never_ran):
    fn, w = never_ran
    with pytest.raises(SetupError, match="seccomp filters need libseccomp") as caught:
        call_with_container([], fn, stdout=w, seccomp=NO_SYNC)
    assert isinstance(caught.value, FileNotFoundError)
    assert "libseccomp2" in "".join(caught.value.__notes__)
    with pytest.raises(SetupError, match="seccomp filters need libseccomp"):
        run_command([], ["/bin/echo", "ran"], stdout=w, seccomp=NO_SYNC)


def test_the_library_is_missing_for_a_visitor(never_ran, monkeypatch):
    fn, _ = never_ran
    with start_container([], seccomp=SeccompFilter("allow", {"mkdir": 1})) as running:
        monkeypatch.setattr(filters, "LIBRARY", "libseccomp.so.none")
        filters._library.cache_clear()
        filters.program_of.cache_clear()
        try:
            with pytest.raises(SetupError, match="seccomp filters need libseccomp"):
                container_excursion(running, fn)
        finally:
            filters._library.cache_clear()


def test_the_kernel_refuses_the_filter(never_ran):
    fn, w = never_ran
    refuse = runpy.run_path(str(REFUSING))["refuse"]
    with pytest.raises(SetupError, match="filter system calls: allow for all; but") as caught:
        call_with_container(
            [],
            fn,
            stdout=w,
            start_method="fork",
            populate_filesystem=lambda: refuse("seccomp"),
            seccomp=NO_SYNC,
        )
    assert caught.value.errno == errno.EPERM


def test_no_right_to_a_filter(never_ran):
    """Neither no_new_privs nor the capability."""
    fn, w = never_ran

    def give_up_capabilities():
        import ctypes

        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        assert ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)()) == 0

    with pytest.raises(SetupError, match="filter system calls") as caught:
        call_with_container(
            [],
            fn,
            stdout=w,
            populate_filesystem=give_up_capabilities,
            preload=["ctypes"],
            lock_mounts=False,
            writable_root=True,
            no_new_privs=False,
            seccomp=NO_SYNC,
        )
    assert caught.value.errno == errno.EACCES
    assert "no_new_privs=True" in "".join(caught.value.__notes__)


@pytest.mark.parametrize("name", ["opanat", "chmodat", "sync_file"])
def test_a_call_that_does_not_exist(never_ran, name):
    fn, w = never_ran
    seccomp = SeccompFilter("allow", {name: "kill"})
    with pytest.raises(ValueError, match=f"unknown system call '{name}'; did you mean '"):
        call_with_container([], fn, stdout=w, seccomp=seccomp)
    with pytest.raises(ValueError, match="unknown system call"):
        run_command([], ["/bin/echo", "ran"], stdout=w, seccomp=seccomp)


def test_a_capability_that_does_not_exist(never_ran):
    with pytest.raises(ValueError, match="unknown capability 'CAP_SYS_ADMN'; did you mean"):
        call_with_container([], never_ran[0], capabilities=["sys_admn"])
