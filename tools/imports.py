"""Checks the imports within the package: `python tools/imports.py [FOLDER]`.

Prints the longest chain of imports, the circles, the imports that go upward between the layers that pyproject.toml
declares (`[[tool.importlinter.contracts]]`), and the packages that no layer names. All import statements count, also
those within functions and those only for types; importing a name of a package that is not a module counts as importing
the package's `__init__`. The exit status is 1 if there is a circle, an upward import or a package without a layer.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import tomllib

ROOT = Path(__file__).parents[1]
PACKAGE = "santacoder"
Graph = dict[str, set[str]]


def read_graph(folder: Path) -> Graph:
    """Return the modules that each module of the package in `folder` imports, by name."""
    files = {_name(path.relative_to(folder.parent)): path for path in folder.rglob("*.py") if path.stem.isidentifier()}
    return {name: set(_imports(path, name, files)) - {name} for name, path in files.items()}


def _name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path, name: str, modules: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            if node.level:
                raise SystemExit(f"{name}: an import is relative")
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                yield module if module in modules else str(node.module)


def find_circles(graph: Graph) -> list[list[str]]:
    """Return the sets of modules that import each other, by Tarjan's algorithm; none if the graph has no circles."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    circles = []

    def visit(module: str) -> None:
        numbers[module] = lowest[module] = len(numbers)
        stack.append(module)
        for other in sorted(graph[module]):
            if other not in numbers:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], numbers[other])
        if lowest[module] == numbers[module]:
            at = stack.index(module)
            if len(stack) - at > 1:
                circles.append(sorted(stack[at:]))
            del stack[at:]

    for module in sorted(graph):
        if module not in numbers:
            visit(module)
    return circles


def longest_chain(graph: Graph, circles: list[list[str]]) -> list[str]:
    """Return the longest chain, the importing module first; a circle counts as one module, "a = b"."""
    merged = {module: " = ".join(circle) for circle in circles for module in circle}
    nodes: Graph = {}
    for module, imports in graph.items():
        nodes.setdefault(merged.get(module, module), set()).update(merged.get(other, other) for other in imports)
    chains: dict[str, list[str]] = {}
    for node in TopologicalSorter({node: imports - {node} for node, imports in nodes.items()}).static_order():
        below = max((chains[other] for other in sorted(nodes[node] - {node})), key=len, default=[])
        chains[node] = [node, *below]
    return max(chains.values(), key=len)


def read_layers() -> list[list[str]]:
    """Return the packages of each layer in pyproject.toml, the highest first; none if it has no contract."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"].get("importlinter", {}).get("contracts", [])
    layers: list[str] = next((contract["layers"] for contract in contracts if contract["type"] == "layers"), [])
    return [[name.strip(" ()") for name in layer.replace(":", "|").split("|")] for layer in layers]


def find_unplaced(graph: Graph, layers: list[list[str]]) -> list[str]:
    """Return the folders of the package that no layer names; that of PyInstaller's hooks needs none."""
    placed = {name for layer in layers for name in layer} | {"_pyinstaller"}
    folders = {module.split(".")[1] for module in graph if module.count(".") > 1}
    return sorted(folders - placed) if layers else []


def find_upward(graph: Graph, layers: list[list[str]]) -> list[str]:
    """Return "a -> b" for each module a that imports a module b of a higher layer, or of another package of its own."""
    ranks = {name: rank for rank, layer in enumerate(layers) for name in layer}

    def package(module: str) -> str:
        return module.split(".")[1]

    return [
        f"{module} -> {other}"
        for module, imports in sorted(graph.items())
        for other in sorted(imports)
        if ranks
        and PACKAGE not in (module, other)
        and package(module) in ranks
        and package(other) in ranks
        and package(module) != package(other)
        and ranks[package(module)] >= ranks[package(other)]
    ]


def main() -> int:
    """Print the findings and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "src" / PACKAGE)
    graph = read_graph(parser.parse_args().folder)
    circles = find_circles(graph)
    layers = read_layers()
    upward, unplaced = find_upward(graph, layers), find_unplaced(graph, layers)
    chain = longest_chain(graph, circles)
    print(f"{len(graph)} modules, {sum(map(len, graph.values()))} imports")
    print(f"longest chain, {len(chain)} modules:", *chain, sep="\n  ")
    print(f"circles, {len(circles)}:", *(" = ".join(circle) for circle in circles), sep="\n  ")
    print(f"upward, {len(upward)}:", *upward, sep="\n  ")
    print(f"without a layer, {len(unplaced)}:", *unplaced, sep="\n  ")
    return 1 if circles or upward or unplaced else 0


if __name__ == "__main__":
    sys.exit(main())
