"""The known providers: the user's own in `~/.bot-bottle/contrib/`, then the built-in ones.

Only the user's home is searched: a provider from a repository would run the repository's code on the host.
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
    """A provider, or the error with which it failed to load.

    Attributes:
        name: the provider's name in manifests.
        origin: `built-in`, or `home` for a user's own.
        path: the provider's file.
        provider: the provider; `None` when it failed to load.
        error: why it failed to load; `None` when it did not.
    """

    name: str
    origin: Origin
    path: Path
    provider: AgentProvider | None = None
    error: BottleError | None = None

    @property
    def replaces_built_in(self) -> bool:
        """Whether a user's own provider has the name of a built-in one."""
        return self.origin == "home" and self.name in BUILT_IN


def get_provider(name: str) -> AgentProvider:
    """Return the provider called *name*: the user's own, else the built-in one.

    Raises:
        UsageError: there is none.
        ManifestError: a user's own provider failed to load; with file, line and reason.
    """
    entry = find(name)
    if entry.provider is None:
        raise entry.error or UsageError(f"no agent provider is called '{name}'")
    return entry.provider


def find(name: str) -> ProviderEntry:
    """Return the entry of the provider called *name*; a provider that failed to load has an error.

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
    """Return all providers, sorted by name; one that failed to load has an error and does not affect the others."""
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
    """Execute a provider's file; its size and time are in the cache's key, so an edited file is executed again."""
    module_name = f"bb_jupyter_contrib_{name.replace('-', '_')}"
    module = ModuleType(module_name)
    module.__file__ = str(path)
    sys.modules[module_name] = module  # dataclasses and inspect look up a class's module there
    linecache.checkcache(str(path))
    # The file is the user's own.  The import system would miss an edit within the same second.
    exec(compile(path.read_bytes(), str(path), "exec"), vars(module))  # noqa: S102
    return _provider_in(module, name)


def _provider_in(module: ModuleType, name: str) -> AgentProvider:
    """Return an instance of the one provider class in *module*.

    Raises:
        ManifestError: there is none, there are several, or it lacks a method.
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
    """Return an error with the reason, file and line for an exception in a user's own provider."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    line = lines[-1] if lines else getattr(error, "lineno", None)
    reason = error.msg if isinstance(error, SyntaxError) else str(error)
    return ManifestError(f"{type(error).__name__}: {reason}", path=path, line=line, hint="This provider is not used.")
