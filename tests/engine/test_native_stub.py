"""The stub of the cffi extension declares what csrc/santacoder.h does: functions, types, constants and fields."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import santacoder
from santacoder._native import ffi, lib

STUB = Path(santacoder.__file__).parent / "_native.pyi"
CLASSES = {node.name: node for node in ast.parse(STUB.read_text("utf-8")).body if isinstance(node, ast.ClassDef)}
#: What Python has for a C type. cffi drops const; integers of all sizes are alike.
PYTHON = {
    "void": "None",
    **dict.fromkeys(("int", "int32_t", "uint32_t", "int64_t", "uint64_t", "size_t", "unsigned long long"), "int"),
    "float": "float",
    "double": "float",
    "void *": "CData",
    "float *": "Floats",
    "double *": "Doubles",
    "int32_t *": "Int32s",
    "uint8_t *": "Uint8s",
    "uint32_t *": "Uint32s",
    "uint64_t *": "Uint64s",
    "size_t *": "Sizes",
    "void * *": "Pointers",
}
STRUCTS = ffi.list_types()[0]
FUNCTIONS = sorted(name for name in dir(lib) if callable(getattr(lib, name)))


def python_type(ctype: object) -> str:
    """`struct sc_team *` and `sc_team_counts` are Team and TeamCounts; an array is read as a pointer is."""
    name = str(ctype).removeprefix("<ctype '").removesuffix("'>").removeprefix("struct ")
    name = re.sub(r"\[\d+\]$", " *", name)
    return PYTHON[name] if name in PYTHON else class_name(name.removesuffix(" *"))


def class_name(struct: str) -> str:
    assert struct in STRUCTS
    return "".join(word.capitalize() for word in struct.split("_")[1:])


def functions(name: str) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in CLASSES[name].body if isinstance(node, ast.FunctionDef)}


def attributes(name: str) -> dict[str, str]:
    """Name -> type, as they are written."""
    found = [node for node in CLASSES[name].body if isinstance(node, ast.AnnAssign)]
    return {ast.unparse(node.target): ast.unparse(node.annotation) for node in found}


def annotation(node: ast.expr | None) -> str:
    assert node is not None
    return ast.unparse(node)


def test_the_same_functions() -> None:
    assert sorted(functions("Lib")) == FUNCTIONS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signature(name: str) -> None:
    declared, written = ffi.typeof(getattr(lib, name)), functions("Lib")[name]
    by_position = written.args.posonlyargs or written.args.args  # `self` by itself needs no slash
    types = [annotation(argument.annotation) for argument in by_position[1:]]
    types = ["Uint8s" if type == "bytes" else type for type in types]  # cffi takes either
    assert types == list(map(python_type, declared.args))
    assert ast.unparse(written.args).count("/") == bool(declared.args)
    assert annotation(written.returns) == python_type(declared.result)


def test_the_same_constants() -> None:
    constants = {name: "Final[int]" for name in dir(lib) if name not in FUNCTIONS}
    assert attributes("Lib") == constants
    assert all(type(getattr(lib, name)) is int for name in constants)


@pytest.mark.parametrize("struct", STRUCTS)
def test_fields(struct: str) -> None:
    """Opaque types have no fields."""
    try:
        ffi.sizeof(struct)
    except ffi.error:
        declared = {}
    else:
        declared = {name: python_type(field.type) for name, field in ffi.typeof(struct).fields}
    assert attributes(class_name(struct)) == declared
