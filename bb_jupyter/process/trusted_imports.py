"""Imports of this package are never satisfied from the folder that a notebook lies in.

A kernel has its working directory in front of `sys.path`, and most imports of this package are late: a `pathspec.py`
that an agent brought home would run on this host as soon as one of our functions needs the library of that name.  So
a finder in front of `sys.meta_path` answers every import that code of ours asks for, at first or second hand, from the
installed libraries alone.  What the user's own cells import is none of its business.
"""

from __future__ import annotations

import site
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from os import environ, pathsep, sep
from pathlib import Path
from types import FrameType, ModuleType

from bb_jupyter.home import bot_bottle_home

_OURS = __name__.partition(".")[0]
_PACKAGE = str(Path(__file__).parents[1])


class TrustedFinder:
    """Finds what code of this package imports, in the installed libraries only."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the installed module for an import of ours; `None` for all others, which go on as ever.

        Raises:
            ModuleNotFoundError: code of ours wants it, and it is not installed.
        """
        if path is not None or not _is_for_us(sys._getframe(1)):
            return None
        for finder in sys.meta_path:
            if finder is not self:
                where = _trusted_path() if finder is PathFinder else None
                if spec := finder.find_spec(fullname, where, target):
                    return spec
        if _only_looks(sys._getframe(1)):
            return None  # nothing is run of what the other finders find
        raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def protect_imports() -> None:
    """Put the finder in front; called when the package is imported.  Idempotent."""
    if not any(isinstance(finder, TrustedFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, TrustedFinder())


def _is_for_us(frame: FrameType | None) -> bool:
    """Return whether code of this package imports something, itself or by a library that it has called."""
    libraries = ("<frozen", *_library_folders(), f"{bot_bottle_home()}{sep}")
    while frame is not None:
        name = frame.f_globals.get("__name__")
        if isinstance(name, str) and (name == _OURS or name.startswith(f"{_OURS}.")):
            return True
        file = str(frame.f_globals.get("__file__") or frame.f_code.co_filename)
        if not file.startswith(libraries):
            return False  # the user's own code, even where we have called it
        frame = frame.f_back
    return False


def _only_looks(frame: FrameType | None) -> bool:
    """Return whether nothing is imported: a library asks by `importlib.util.find_spec` whether another is there."""
    while frame is not None and frame.f_code.co_filename.startswith("<frozen"):
        if frame.f_code is find_spec.__code__:
            return True
        frame = frame.f_back
    return frame is not None and frame.f_code is find_spec.__code__


def _trusted_path() -> list[str]:
    """Return the entries of `sys.path` that hold installed libraries, in order."""
    folders, named, here = _library_folders(), _named_by_the_user(), Path.cwd().resolve()
    return [
        entry
        for entry in sys.path
        if f"{entry}{sep}".startswith(folders)
        or (entry.endswith(".zip") and entry.startswith(sys.base_prefix))
        or (entry in named and Path(entry).is_absolute() and Path(entry).resolve() != here)
    ]


@cache
def _library_folders() -> tuple[str, ...]:
    """Return where the standard library and installed packages lie, each with a separator at its end."""
    paths = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    return tuple(f"{path}{sep}" for path in {*paths, *site.getsitepackages(), site.getusersitepackages()})


@cache
def _named_by_the_user() -> frozenset[str]:
    """Return the folders of `PYTHONPATH` and of `.pth` files, such as those of editable installations."""
    return frozenset({*environ.get("PYTHONPATH", "").split(pathsep), *_lines_of_pth_files()})


def _lines_of_pth_files() -> Iterator[str]:
    for folder in _library_folders():
        for file in Path(folder).glob("*.pth"):
            try:
                yield from file.read_text().splitlines()
            except (OSError, UnicodeDecodeError):
                continue
