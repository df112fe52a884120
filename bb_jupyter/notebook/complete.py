"""Tab completion of sub-commands, options and their values, for `%bottle` and the cell magics.

It is an IPython matcher (`IPCompleter.custom_matchers`, API version 2).  It suppresses the other matchers, so that no
Python name is offered in the place of an option.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.completer import CompletionContext, SimpleMatcherResult
    from IPython.core.interactiveshell import InteractiveShell

    from bb_jupyter.notebook.parser import Parser

_LINE = re.compile(r"\s*(%bottle|%%bottle(?:_manifest|_experiment)?)\s(?P<rest>.*)", re.DOTALL)


def register(ip: InteractiveShell) -> None:
    """Add the matcher to the shell *ip*.  Idempotent."""
    if _matcher not in ip.Completer.custom_matchers:
        ip.Completer.custom_matchers.append(_matcher)


def unregister(ip: InteractiveShell) -> None:
    """Take it away."""
    if _matcher in ip.Completer.custom_matchers:
        ip.Completer.custom_matchers.remove(_matcher)


def _matcher(context: CompletionContext) -> SimpleMatcherResult:
    """Complete the word before the cursor."""
    from IPython.core.completer import SimpleCompletion

    line = _LINE.fullmatch(context.text_until_cursor) if context.cursor_line == 0 or _is_line(context) else None
    if line is None:
        return {"completions": [], "suppress": False}
    *before, word = re.split(r"\s+", line["rest"]) if line["rest"] else [""]
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if equals:
        before, word = [*before, option], value
    found = [text for text in candidates(line[1], before, word) if text.startswith(word)]
    completions = [SimpleCompletion(text, type="keyword") for text in found]
    return {"completions": completions, "suppress": True, "matched_fragment": word, "ordered": True}


_matcher.matcher_api_version = 2  # type: ignore[attr-defined]
_matcher.matcher_priority = 100  # type: ignore[attr-defined]
_matcher.matcher_identifier = "bb_jupyter"  # type: ignore[attr-defined]


def _is_line(context: CompletionContext) -> bool:
    return not context.text_until_cursor.lstrip().startswith("%%")


def candidates(magic: str, before: list[str], word: str = "") -> list[str]:
    """Return what may come next.

    Args:
        magic: `%bottle` or one of the cell magics.
        before: the words between the magic and the word at the cursor.
        word: the word at the cursor, as far as it is written; it decides in which folder paths are looked up.
    """
    from bb_jupyter.notebook import commands

    if magic.startswith("%%"):
        return _of_parser(_cell_parser(magic), before, word)
    if not before:
        return list(commands.commands())
    if before[0] not in commands.commands():
        return []
    return _of_parser(commands.parser(before[0]), before[1:], word)


def _cell_parser(magic: str) -> Parser:
    from bb_jupyter.notebook import experiment_magic, manifest_magic
    from bb_jupyter.notebook.options import cell_parser

    others = {"%%bottle_manifest": manifest_magic.parser, "%%bottle_experiment": experiment_magic.parser}
    return others.get(magic, cell_parser)()


def _of_parser(parser: Parser, before: list[str], word: str) -> list[str]:
    options = parser.options()
    if before and before[-1] in options and options[before[-1]].nargs != 0:
        dest = options[before[-1]].dest
        return [*_values(dest), *_suggested(dest, before[0]), *_files(dest, word)]
    named = [word for word in before if not word.startswith("-")]
    wanted = [action.dest for action in parser.positionals()]
    flags = sorted(option for option in options if option.startswith("--"))
    if wanted[:1] == ["names"]:
        return [*_values("name"), *flags]
    if named and "hosts" in wanted:
        return [*_denied_hosts(named[0]), *flags]
    dest = "".join(wanted[len(named) : len(named) + 1])
    return [*_values(dest), *_files(dest, word), *flags]


def _files(dest: str, word: str) -> list[str]:
    """Return the files and folders on this host that complete a path."""
    from bb_jupyter.approvals import kinds

    folder, slash, _ = word.rpartition("/")
    option = kinds.options().get(dest)
    if not (dest in _PATHS or (option and option.is_path)) or ":" in word:
        return []
    try:
        entries = sorted(Path(folder + slash or ".").expanduser().iterdir())
    except (OSError, RuntimeError):
        return []
    return [f"{folder}{slash}{entry.name}{'/' if entry.is_dir() else ''}" for entry in entries]


def _suggested(dest: str, id_: str) -> list[str]:
    """Return values of an option that a request suggests; none that would look like something else."""
    from bb_jupyter import approvals
    from bb_jupyter.approvals import kinds
    from bb_jupyter.text.visible import one_line

    known: list[str] = []
    for proposal in approvals.pending() if dest in kinds.options() else ():
        kind = kinds.of(proposal)
        if str(proposal.id) == id_ and dest in {option.name for option in kind.options}:
            known += kind.suggestions(kind.read(proposal), dest)
    return [shlex.quote(text) for text in known if text and one_line(text) == text]


def _values(dest: str) -> list[str]:
    source = _SOURCES.get(dest)
    return sorted(source()) if source else []


def _backends() -> Iterable[str]:
    from bb_jupyter.backend import registry

    return registry.names()


def _bottles() -> Iterable[str]:
    from bb_jupyter.backend import state

    return {record.name for record in state.records()}


def _places() -> Iterable[str]:
    """Return the beginnings of paths in bottles, for `%bottle cp`."""
    return {f"{name}:" for name in _bottles()}


def _past_bottles() -> Iterable[str]:
    from bb_jupyter.gateway.audit import audit_log

    return {*_bottles(), *audit_log.names()}


def _denied_hosts(name: str) -> list[str]:
    """Return the hosts that a bottle was denied, which `%bottle allow` may be for."""
    from bb_jupyter.backend import state
    from bb_jupyter.gateway.audit.history import history

    slugs = [record.slug for record in state.records() if record.name == name]
    records = [record for slug in slugs for record in history(slug)]
    return sorted({record.host for record in records if record.verdict == "denied" and record.host})


def _agents() -> Iterable[str]:
    """Return the agents with a manifest, and the providers, whose names are agents without further settings."""
    from bb_jupyter.agent.registry import list_providers
    from bb_jupyter.core.session import current
    from bb_jupyter.manifest import list_agents

    declared = {entry.name: entry.error is None for entry in list_agents(current().project)}
    providers = {entry.name: entry.error is None for entry in list_providers()}
    return [name for name, is_good in {**providers, **declared}.items() if is_good]


def _requests() -> Iterable[str]:
    from bb_jupyter import approvals

    return [str(proposal.id) for proposal in approvals.pending()]


def _asking() -> Iterable[str]:
    from bb_jupyter import approvals

    return {proposal.bottle for proposal in approvals.pending()}


def _bottle_manifests() -> Iterable[str]:
    from bb_jupyter.manifest import list_bottles

    return [entry.name for entry in list_bottles() if entry.manifest]


def _experiments() -> Iterable[str]:
    from bb_jupyter.home import bot_bottle_home

    return [index.parent.name for index in (bot_bottle_home() / "experiments").glob("*/index.sqlite")]


#: Options and arguments that take a path on this host; the options of an approval kind declare it themselves.
_PATHS = frozenset({"copy", "source", "target"})
#: Sources of the values of an option or argument; others have no values to offer.
_SOURCES: dict[str, Callable[[], Iterable[str]]] = {
    "name": _bottles,
    "id": _requests,
    "what": _asking,
    "past_name": _past_bottles,
    "source": _places,
    "target": _places,
    "backend": _backends,
    "agent": _agents,
    "bottle": _bottle_manifests,
    "experiment": _experiments,
}
