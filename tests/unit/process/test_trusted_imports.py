"""A module beside the notebook is never imported by us: one is planted for every name of our libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

_PACKAGE = Path(__file__).parents[3] / "bb_jupyter"

#: Loads the extension as a kernel does whose working directory is the workspace, and uses what imports late.
_SCRIPT = """
import os, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
import IPython.core.completer, IPython.core.magics, ipykernel.kernelbase, jedi, inspect
os.chdir(sys.argv[1])
sys.path.insert(0, "")
for line in sys.argv[2].split(";"):
    if not shell.run_cell(line).success:
        sys.exit(line)
"""


def _imported_names() -> set[str]:
    """Every top-level name that the package's sources import, and those of all installed libraries."""
    found = set(packages_distributions())
    for path in _PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return {name for name in found if name.isidentifier()} - {"bb_jupyter", "__future__"}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    for name in _imported_names():
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write(__name__ + ' ')\n")
    return folder


@pytest.mark.parametrize(
    "cells",
    [
        "%load_ext bb_jupyter;%bottle doctor;%bottle ls;%bottle agents;%bottle --help;%bottle cleanup",
        "%load_ext bb_jupyter;import bb_jupyter as b;b.active();b.approvals();b.experiment.Task;b.Experiment",
        "import bb_jupyter.broker.broker_process, bb_jupyter.gateway.gateway_process, bb_jupyter.server",
        "%load_ext bb_jupyter;%bottle plan demo --copy . --allow example.test",
    ],
)
def test_a_planted_module_is_never_imported(workspace: Path, tmp_path: Path, home: Path, cells: str) -> None:
    done = _python(_SCRIPT, str(workspace), cells)
    ran = (tmp_path / "ran").read_text() if (tmp_path / "ran").exists() else ""
    assert (ran, done.returncode) == ("", 0), done.stderr + done.stdout


def test_what_is_not_installed_is_not_taken_from_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "surely_not_installed.py").write_text("")
    code = """
import os, sys
os.chdir(sys.argv[1])
sys.path.insert(0, "")
from bb_jupyter.process import jsonl as ours
exec("try: import surely_not_installed\\nexcept ModuleNotFoundError: print(1)", ours.__dict__)
import surely_not_installed
print(2)
"""
    done = _python(code, str(tmp_path))
    assert done.stdout.split() == ["1", "2"], done.stderr


def test_a_cell_imports_what_lies_beside_it(tmp_path: Path) -> None:
    """The user's own imports are left alone."""
    (tmp_path / "mine.py").write_text("value = 7\n")
    code = "import os, sys; os.chdir(sys.argv[1]); sys.path.insert(0, ''); import bb_jupyter, mine; print(mine.value)"
    assert _python(code, str(tmp_path)).stdout == "7\n"


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-P", "-c", code, *arguments], capture_output=True, text=True, check=False)
