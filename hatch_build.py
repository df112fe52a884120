"""Build hook: the JupyterLab panel is built where Node is, and left out, with a word, where it is not."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: Set to 1: do not build the panel, such as for a quick look in a terminal.
_SKIP = "BB_SKIP_PANEL"
#: What is built, from what, and where an environment wants it.
_BUILT = "bb_jupyter/labextension"
_SOURCES = (
    "labextension/src",
    "labextension/style",
    "labextension/package.json",
    "labextension/kinds.mjs",
    "bb_jupyter/frontend",
)
_SHARED = "share/jupyter/labextensions/bb-jupyter"


class PanelBuildHook(BuildHookInterface[Any]):
    """Runs before a wheel, an editable one too, is put together."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build what is stale, and ship what there is."""
        built, source = Path(self.root, _BUILT), Path(self.root, "labextension")
        wanted = source.is_dir() and not os.environ.get(_SKIP)
        if wanted and _is_stale(built / "package.json", [Path(self.root, name) for name in _SOURCES]):
            self._build(source)
        if (built / "package.json").is_file():
            build_data["artifacts"].append(f"/{_BUILT}")
            build_data["shared_data"][str(built)] = _SHARED
            build_data["shared_data"][str(source / "install.json")] = f"{_SHARED}/install.json"

    def _build(self, source: Path) -> None:
        if not _node_is_new_enough():
            self.app.display_warning("bb_jupyter: no Node 20.19 or newer here: installed without the JupyterLab panel")
            return
        from hatch_jupyter_builder import npm_builder

        if registry := _registry():
            os.environ.setdefault("YARN_NPM_REGISTRY_SERVER", registry)
        npm_builder("wheel", "standard", path=str(source), npm=["jlpm"], build_cmd="build:prod")


def _node_is_new_enough() -> bool:
    """Return whether the bundler (Rspack 2) can run."""
    if not shutil.which("node"):
        return False
    found = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
    version = tuple(int(part) for part in found.strip().lstrip("v").split(".")[:2] if part.isdigit())
    return version >= (20, 19)


def _registry() -> str:
    """Return the registry that npm is configured with, for jlpm would ask one of its own; empty without npm."""
    npm = shutil.which("npm")
    if not npm:
        return ""
    asked = subprocess.run([npm, "config", "get", "registry"], capture_output=True, text=True, check=False)
    return asked.stdout.strip()


def _is_stale(built: Path, sources: list[Path]) -> bool:
    if not built.is_file():
        return True
    files = [file for source in sources for file in ([source] if source.is_file() else source.rglob("*"))]
    return any(file.stat().st_mtime > built.stat().st_mtime for file in files if file.is_file())
