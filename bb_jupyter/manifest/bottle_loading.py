"""Loads bottles: from cells of this kernel and from the user's folder, never from a repository."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TypeVar

from bb_jupyter.errors import BottleError, ManifestError, did_you_mean
from bb_jupyter.manifest.bottle_model import BottleManifest
from bb_jupyter.manifest.egress_model import Egress
from bb_jupyter.manifest.manifest_files import (
    Entry,
    Origin,
    check_repository,
    home_folder,
    is_name,
    manifest_names,
    read_text,
    validate_name,
)
from bb_jupyter.manifest.parse import Document, parse
from bb_jupyter.manifest.strict_model import StrictModel
from bb_jupyter.manifest.validation_errors import build
from bb_jupyter.text.visible import quoted

F = TypeVar("F", bound=StrictModel)

_defined: dict[str, _Layer] = {}
_override: ContextVar[Definitions] = ContextVar("override", default={})  # noqa: B039 - never written to


@dataclass(frozen=True)
class _Layer:
    """One bottle as written, before what it extends is merged in."""

    manifest: BottleManifest
    document: Document


Definitions = Mapping[str, _Layer]


def definitions() -> Definitions:
    """Return the bottles that this kernel has defined, for `override_definitions` in another process."""
    return {**_defined, **_override.get()}


@contextlib.contextmanager
def override_definitions(definitions: Definitions) -> Iterator[None]:
    """Make this thread load bottles from another kernel's *definitions* first."""
    token = _override.set(definitions)
    try:
        yield
    finally:
        _override.reset(token)


def parse_bottle(text: str, *, name: str, path: str = "<cell>", origin: Origin = "kernel") -> BottleManifest:
    """Read the text of one bottle, without what it extends.

    Args:
        text: YAML, or Markdown with YAML frontmatter.
        name: the bottle's name, checked already.
        path: file or label that errors name; relative paths in a file's manifest start at its folder, else at the
            working directory.
        origin: where it comes from.

    Raises:
        ManifestError: with line and key.
    """
    return _layer(text, name, path, origin).manifest


def define_bottle(name: str, text: str, label: str = "<cell>") -> BottleManifest:
    """Define a bottle for this kernel; the person who runs the cell vouches for it.

    It comes before a bottle of the same name in the user's folder. A definition that is refused changes nothing.

    Args:
        name: its name.
        text: YAML, or Markdown with YAML frontmatter.
        label: what errors and the preflight call the cell.

    Returns:
        The bottle with what it extends merged in.

    Raises:
        UsageError: the name is not allowed.
        ManifestError: with line and key.
    """
    layer = _layer(text, validate_name("bottle", name), label, "kernel")
    manifest = _resolved(layer, (name,))
    _defined[name] = layer
    return manifest


def load_bottle(name: str, *, project: Path | None = None) -> BottleManifest:
    """Load a bottle of this kernel or of the user's folder, with what it extends merged in.

    Args:
        name: its name.
        project: where a repository may have tried to ship it, for the message; the working directory by default.

    Raises:
        UsageError: the name is not allowed.
        ManifestError: there is no such bottle, or it or one that it extends is wrong.
    """
    layer = _find(validate_name("bottle", name))
    if layer is None:
        check_repository(project or Path.cwd())
        hint = did_you_mean(name, _known()) or f"Write it there as {name}.md, or in a cell: %%bottle_manifest {name}"
        raise ManifestError(f"no bottle is named '{name}'", path=home_folder("bottles"), hint=hint)
    return _resolved(layer, (name,))


def documents(name: str) -> Iterator[Document]:
    """Yield the documents of a bottle and of those that it extends; a document comes before those that it overrides.

    Raises:
        ManifestError: one of them has become wrong meanwhile.
    """
    if layer := _find(name):
        yield layer.document
        for parent in reversed(layer.manifest.extends):
            yield from documents(parent)


def list_bottles() -> list[Entry[BottleManifest]]:
    """List the bottles of this kernel and of the user's folder, broken ones with their error."""
    return [_entry(name) for name in sorted(_known())]


def _entry(name: str) -> Entry[BottleManifest]:
    label = _defined[name].manifest.path if name in _defined else str(_file(name))
    origin: Origin = "kernel" if name in _defined else "home"
    try:
        return Entry(name, origin, label, manifest=load_bottle(name))
    except BottleError as error:
        return Entry(name, origin, label, error=error)


def _file(name: str) -> Path:
    return home_folder("bottles") / f"{name}.md"


def _known() -> set[str]:
    return {*_defined, *manifest_names(home_folder("bottles"))}


def _layer(text: str, name: str, path: str, origin: Origin) -> _Layer:
    document = parse(text, path, plain=True)
    for loc in document.nulls:
        # In a route an empty value would mean "all"; it is probably a mistake, and a mistake must not open anything.
        if loc[:2] == ("egress", "routes") and len(loc) > 2:
            raise document.error("has no value", loc, "Write one, or leave the key out.")
    given = {"name": name, "origin": origin, "path": path, "description": document.body}
    base = Path(path).parent if origin == "home" else Path.cwd()
    return _Layer(build(BottleManifest, document, given, base=base), document)


def _find(name: str) -> _Layer | None:
    """Look up a bottle in overriding definitions, then in those of this kernel, then in the user's folder."""
    if found := _override.get().get(name) or _defined.get(name):
        return found
    if not is_name(name) or not os.path.lexists(_file(name)):
        return None
    return _layer(read_text(_file(name)), name, str(_file(name)), "home")


def _resolved(layer: _Layer, chain: tuple[str, ...]) -> BottleManifest:
    parents = [_parent(layer, name, chain) for name in layer.manifest.extends]
    return reduce(_merged, [*parents, layer.manifest])


def _parent(layer: _Layer, name: str, chain: tuple[str, ...]) -> BottleManifest:
    if name in chain:
        circle = " → ".join((*chain[chain.index(name) :], name))
        raise layer.document.error(f"goes in a circle: {circle}", ("extends",))
    found = _find(name)
    if found is None:
        hint = did_you_mean(name, _known() - {chain[-1]})
        raise layer.document.error(f"no bottle is named {quoted(name)}", ("extends",), hint)
    return _resolved(found, (*chain, name))


def _merged(parent: F, child: F) -> F:
    """Lay *child* over *parent*, which it extends.

    Keys that the child does not have are the parent's. Mappings are merged key by key; a repository of the git gate is
    one value, taken whole. Routes replace those of the same host, and an empty list or ``egress:`` with nothing closes
    the network. Other lists are replaced.
    """
    over = {name: _merged_value(getattr(parent, name), getattr(child, name)) for name in child.model_fields_set}
    return parent.model_copy(update=over)


def _merged_value(old: object, new: object) -> object:
    if isinstance(old, Egress) and isinstance(new, Egress):
        return old.merged(new)
    if isinstance(old, StrictModel) and isinstance(new, StrictModel):
        return _merged(old, new)
    return {**old, **new} if isinstance(old, dict) and isinstance(new, dict) else new
