"""The one thing that setup.cfg cannot say: which file defines the compiled helper."""

from setuptools import setup

setup(cffi_modules=["_build_ffi.py:ffibuilder"])
