"""Variants of templates as people write them: with annotations or without, and with documentation in some style."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable

from template import Variant

VERBS = {
    "Return": "Returns", "Compute": "Computes", "Calculate": "Calculates", "Get": "Gets", "Find": "Finds",
    "Check": "Checks", "Test": "Tests", "Tell": "Tells", "Convert": "Converts", "Count": "Counts", "Make": "Makes",
    "Build": "Builds", "Sort": "Sorts", "Remove": "Removes", "Reverse": "Reverses", "Split": "Splits", "Add": "Adds",
    "Join": "Joins", "Write": "Writes", "Read": "Reads", "Merge": "Merges", "Keep": "Keeps", "List": "Lists",
}  # fmt: skip
TYPES = {
    "int": "an integer", "float": "a number", "str": "a string", "bool": "a boolean", "list": "a list",
    "dict": "a dictionary", "tuple": "a tuple", "set": "a set",
}  # fmt: skip
INDENT = "    "
Signature = tuple[str, list[tuple[str, str]], str]


def function(variant: Variant, rng: random.Random) -> str:
    """Return the source of a function, with what belongs before and behind it."""
    annotated = rng.random() < 0.35
    head = variant.head if annotated else without_annotations(variant.head)
    style = rng.choices([*STYLES], weights=[weight for weight, _ in STYLES.values()])[0]
    doc = sentence(variant.doc, rng)
    documentation = STYLES[style][1](variant, doc)
    comment = f"# {doc}\n" if style == "comment" else ""
    imports = "".join(f"{line}\n" for line in variant.imports)
    imports += "\n\n" if imports else ""
    return f"{imports}{comment}{head}\n{documentation}{variant.body}\n"


def sentence(doc: str, rng: random.Random) -> str:
    """Return a sentence as it is, in the third person, or without its period."""
    if rng.random() < 0.25:
        doc = re.sub(r"^\w+", lambda found: VERBS.get(found[0], found[0]), doc)
    without = rng.random() < 0.15 and not doc.endswith('".')  # a quote must not touch the docstring's end
    return doc.removesuffix(".") if without else doc


def signature(head: str) -> Signature:
    """Return the name, the parameters with their types, and the type of the result; "" stands for none."""
    tree = ast.parse(f"{head}\n    pass").body[0]
    assert isinstance(tree, ast.FunctionDef)
    parameters = [(a.arg, ast.unparse(a.annotation) if a.annotation else "") for a in tree.args.args]
    return tree.name, parameters, ast.unparse(tree.returns) if tree.returns else ""


def without_annotations(head: str) -> str:
    """Return the line `def ...:` without types."""
    name, parameters, _ = signature(head)
    return f"def {name}({', '.join(parameter for parameter, _ in parameters)}):"


def _described(kind: str) -> str:
    return TYPES.get(kind.partition("[")[0], "a value")


def _quoted(lines: list[str], quotes: str = '"""') -> str:
    text = f"\n{INDENT}".join(lines)
    return re.sub(r"[ ]+\n", "\n", f"{INDENT}{quotes}{text}{quotes}\n")


def _examples(variant: Variant, doc: str) -> str:
    lines = [doc, ""]
    for expression, value in variant.tests[:2]:
        lines += [f">>> {expression}", repr(ast.literal_eval(value)) if value != "set()" else value]
    plain = all(expression.startswith(variant.names["f"]) for expression, _ in variant.tests) and variant.tests
    return _quoted([*lines, ""]) if plain else _quoted([doc])


def _google(variant: Variant, doc: str) -> str:
    _, parameters, result = signature(variant.head)
    lines = [doc, "", "Args:"]
    lines += [f"    {name}: {_described(kind)}" for name, kind in parameters]
    return _quoted([*lines, "", "Returns:", f"    {_described(result)}", ""])


def _sphinx(variant: Variant, doc: str) -> str:
    _, parameters, result = signature(variant.head)
    lines = [f":param {name}: {_described(kind)}" for name, kind in parameters]
    return _quoted([doc, "", *lines, f":return: {_described(result)}", ""])


#: How often a style of documentation is taken, and how it is written.
STYLES: dict[str, tuple[float, Callable[[Variant, str], str]]] = {
    "none": (0.15, lambda _, doc: ""),
    "comment": (0.10, lambda _, doc: ""),
    "line": (0.42, lambda _, doc: _quoted([doc])),
    "single quotes": (0.03, lambda _, doc: _quoted([doc], "'''")),
    "block": (0.10, lambda _, doc: _quoted(["", doc, ""])),
    "examples": (0.10, _examples),
    "examples in a block": (0.04, lambda variant, doc: _examples(variant, f"\n{INDENT}{doc}")),
    "google": (0.04, _google),
    "sphinx": (0.02, _sphinx),
}


def tests(variant: Variant, rng: random.Random) -> str:
    """Return lines that use a function, or none."""
    if not variant.tests or rng.random() < 0.7:
        return ""
    style = rng.randrange(3)
    if style == 0:
        return "\n\n" + "".join(f"assert {expression} == {value}\n" for expression, value in variant.tests)
    if style == 1:
        return "\n\n" + "".join(f"print({expression})\n" for expression, _ in variant.tests)
    name = variant.names["f"]
    lines = "".join(f"{INDENT}assert {expression} == {value}\n" for expression, value in variant.tests)
    return f"\n\ndef test_{name}():\n{lines}"
