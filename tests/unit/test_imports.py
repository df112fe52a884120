"""No cycle of imports in the package, wherever an import statement is written: imports for type checking count, too."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import bb_jupyter

_ROOT = Path(bb_jupyter.__file__).parent
#: Lines beyond which a module is named in the report.
_LONG = 400


def _modules() -> dict[str, Path]:
    """Return every module of the package by its dotted name."""
    found = {}
    for path in sorted(_ROOT.rglob("*.py")):
        parts = ("bb_jupyter", *path.relative_to(_ROOT).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _imports(tree: ast.AST, package: str, known: Mapping[str, Path]) -> Iterator[str]:
    """Yield the modules that a module names in an import statement, at its top, for type checking, or in a function.

    `from package import module` counts as an import of the module and not of the package.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{base}.{alias.name}"
                if name in known or base in known:
                    yield name if name in known else base


def _graph() -> dict[str, set[str]]:
    known = _modules()
    graph = {}
    for name, path in known.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        graph[name] = {*_imports(ast.parse(path.read_bytes()), package, known)} - {name}
    return graph


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found, fresh = set[str](), {start}
    while fresh:
        fresh = {target for module in fresh for target in graph[module]} - found
        found |= fresh
    return found


def _cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one module."""
    reach = {module: _reachable(graph, module) for module in graph}
    groups = {frozenset(other for other in reach[module] if module in reach[other]) for module in graph}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = _graph()
    found = [
        "\n".join(f"  {module} → {', '.join(sorted(graph[module] & {*cycle}))}" for module in cycle)
        for cycle in _cycles(graph)
    ]
    assert not found, "cycles of imports (type-only and late ones count):\n" + "\n\n".join(found)


def test_the_check_finds_a_cycle() -> None:
    assert _cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == [["a", "b", "c"]]


def test_the_check_sees_every_form_of_import() -> None:
    known = dict.fromkeys(("p", "p.m", "p.q", "p.q.n", "p.t"), Path())
    code = """
import os
from p import m, name
def late():
    import p.q.n
if TYPE_CHECKING:
    from .n import thing
    from .. import t
"""
    assert {*_imports(ast.parse(code), "p.q", known)} == {"p", "p.m", "p.q.n", "p.t"}


def test_how_many_modules_there_are_is_printed() -> None:
    modules = _modules()
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules.items()}
    print(f"\n{len(modules)} modules")
    for name, lines in sorted(lengths.items(), key=lambda item: -item[1]):
        if lines > _LONG:
            print(f"{name}: {lines} lines")
