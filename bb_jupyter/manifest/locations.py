"""Finds the file and line of a key whose value turns out wrong only after loading, such as a missing credential."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from bb_jupyter.errors import BottleError, ManifestError
from bb_jupyter.manifest.agent_loading import document_of
from bb_jupyter.manifest.agent_model import AgentManifest
from bb_jupyter.manifest.bottle_loading import documents
from bb_jupyter.manifest.bottle_model import BottleManifest
from bb_jupyter.manifest.parse import Document, Loc

_PART = re.compile(r"\[(?P<item>[^\]]*)\]|(?P<key>[^.\[\]]+)")


@contextlib.contextmanager
def located(bottle: BottleManifest, agent: AgentManifest | None, project: Path) -> Iterator[None]:
    """Add file and line to a `ManifestError` that has a key but no line.

    Args:
        bottle: the bottle in use; its manifest and those that it extends are searched.
        agent: the agent in use, whose manifest is searched for its own errors; `None` for none.
        project: the root of the repository whose agents may be used.
    """
    try:
        yield
    except ManifestError as error:
        if error.line is None and error.key:
            of_agent = agent is not None and error.path == agent.path
            found = document_of(agent, project) if agent is not None and of_agent else documents(bottle.name)
            raise _placed(error, found) from None
        raise


def _placed(error: ManifestError, documents: Iterable[Document]) -> ManifestError:
    with contextlib.suppress(BottleError):  # a file that has changed since, and cannot be read any more
        for document in documents:
            loc = _loc(error.key, document)
            if loc and loc in document.lines:
                return error.at(document.path, document.lines[loc])
    return error


def _loc(key: str, document: Document) -> Loc:
    """Return the location of a dotted key; `[HOST]` in it stands for the list item with this host."""
    loc: Loc = ()
    here: object = document.data
    for part in _PART.finditer(key):
        step = _index(part["item"], here) if part["key"] is None else part["key"]
        loc = (*loc, step)
        if isinstance(here, dict):
            here = here.get(step)
        elif isinstance(here, list) and isinstance(step, int) and step < len(here):
            here = here[step]
    return loc


def _index(item: str, items: object) -> int:
    if item.isdigit():
        return int(item)
    routes = items if isinstance(items, list) else []
    hosts = [str(route.get("host", "")).lower() for route in routes if isinstance(route, dict)]
    return hosts.index(item) if item in hosts else len(routes)
