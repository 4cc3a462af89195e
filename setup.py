"""The native part of the build; everything else is in pyproject.toml."""

from setuptools import setup

setup(
    cffi_modules=["src/santacoder/_build.py:ffi"],
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
    zip_safe=False,
)
