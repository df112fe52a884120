"""Which providers there are: the user's own in `~/.bot-bottle/contrib/`, then the built-in ones.

Only the user's home is looked at: a repository that could bring a provider would run code on the host.
"""

from __future__ import annotations

import inspect
import linecache
import re
import sys
import traceback
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from bb_jupyter.agent.provider import AgentProvider
from bb_jupyter.agent.provision_plan import Origin
from bb_jupyter.errors import BottleError, ManifestError, UsageError, did_you_mean
from bb_jupyter.home import bot_bottle_home

#: Names of the built-in providers.
BUILT_IN = ("claude", "codex", "shell")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_MODULE = "agent_provider.py"


@dataclass(frozen=True)
class ProviderEntry:
    """A provider, or what is wrong with it.

    Attributes:
        name: as manifests name it.
        origin: `built-in`, or `home` for the user's own.
        path: its file.
        provider: itself; `None` when it is broken.
        error: why it is broken; `None` when it is not.
    """

    name: str
    origin: Origin
    path: Path
    provider: AgentProvider | None = None
    error: BottleError | None = None

    @property
    def replaces_built_in(self) -> bool:
        """Whether it is the user's own and has the name of a built-in one."""
        return self.origin == "home" and self.name in BUILT_IN


def get_provider(name: str) -> AgentProvider:
    """Return the provider called *name*: the user's own, else the built-in one.

    Raises:
        UsageError: there is none.
        ManifestError: it is the user's own and broken; with file, line and reason.
    """
    entry = find(name)
    if entry.provider is None:
        raise entry.error or UsageError(f"no agent provider is called '{name}'")
    return entry.provider


def find(name: str) -> ProviderEntry:
    """Return the provider called *name*, or what is wrong with it.

    Raises:
        UsageError: there is none.
    """
    if _NAME.fullmatch(name) and _own(name).is_file():
        return _load_own(name)
    if name in BUILT_IN:
        return _load_built_in(name)
    hint = did_you_mean(name, {*BUILT_IN, *_own_names()})
    raise UsageError(f"no agent provider is called '{name}'", hint=f"{hint} Your own ones lie in {_folder()}.".strip())


def list_providers() -> list[ProviderEntry]:
    """Return every provider, sorted by name; a broken one comes with its error and holds no other up."""
    return [find(name) for name in sorted({*BUILT_IN, *_own_names()})]


def _folder() -> Path:
    return bot_bottle_home() / "contrib"


def _own(name: str) -> Path:
    return _folder() / name / _MODULE


def _own_names() -> list[str]:
    if not _folder().is_dir():
        return []
    return [
        folder.name for folder in _folder().iterdir() if _NAME.fullmatch(folder.name) and _own(folder.name).is_file()
    ]


@cache
def _load_built_in(name: str) -> ProviderEntry:
    module = import_module(f"bb_jupyter.contrib.{name}.agent_provider")
    return ProviderEntry(name, "built-in", Path(str(module.__file__)), provider=_provider_in(module, name))


def _load_own(name: str) -> ProviderEntry:
    path = _own(name)
    try:
        stat = path.stat()
        return ProviderEntry(name, "home", path, provider=_load_version(path, name, stat.st_mtime_ns, stat.st_size))
    except BottleError as error:
        return ProviderEntry(name, "home", path, error=error)
    except (Exception, SystemExit) as error:
        return ProviderEntry(name, "home", path, error=explained(error, path))


@cache
def _load_version(path: Path, name: str, changed: int, size: int) -> AgentProvider:
    """Run a provider's file, again whenever it has changed: its author edits it while the kernel runs."""
    module_name = f"bb_jupyter_contrib_{name.replace('-', '_')}"
    module = ModuleType(module_name)
    module.__file__ = str(path)
    sys.modules[module_name] = module  # dataclasses and inspect look a class's module up there
    linecache.checkcache(str(path))
    # The file is the user's own.  Not by the import system, which takes an edit within a second for the old file.
    exec(compile(path.read_bytes(), str(path), "exec"), vars(module))  # noqa: S102
    return _provider_in(module, name)


def _provider_in(module: ModuleType, name: str) -> AgentProvider:
    """Make the one provider that *module* defines.

    Raises:
        ManifestError: it defines none, several, or an unfinished one.
    """
    path = str(module.__file__)
    classes = [
        cls
        for cls in vars(module).values()
        if inspect.isclass(cls) and issubclass(cls, AgentProvider) and cls.__module__ == module.__name__
    ]
    if len(classes) != 1:
        what = "several classes subclass" if classes else "no class subclasses"
        raise ManifestError(f"{what} AgentProvider", path=path, hint="A provider's file defines exactly one.")
    if missing := sorted(classes[0].__abstractmethods__):
        line = inspect.getsourcelines(classes[0])[1]
        raise ManifestError(f"class {classes[0].__name__} lacks {', '.join(missing)}()", path=path, line=line)
    provider: AgentProvider = classes[0]()
    provider.name = name
    return provider


def explained(error: BaseException, path: Path) -> ManifestError:
    """Say in one line what went wrong in a user's own provider, and where in it."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    line = lines[-1] if lines else getattr(error, "lineno", None)
    reason = error.msg if isinstance(error, SyntaxError) else str(error)
    return ManifestError(f"{type(error).__name__}: {reason}", path=path, line=line, hint="This provider is not used.")
