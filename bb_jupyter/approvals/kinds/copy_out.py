"""`copy-out`: an agent offers a file of its bottle."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from bb_jupyter.approvals.kinds.base import Content, Context, Kind, Option, Part, Result, reason
from bb_jupyter.approvals.store import staging
from bb_jupyter.approvals.store.proposal import Decision, Proposal
from bb_jupyter.errors import BottleError, UsageError
from bb_jupyter.manifest import about_size
from bb_jupyter.policy.obeyed_files import obeyed_by


@dataclass(frozen=True)
class OfferedFile(Content):
    """A file that is offered.

    Attributes:
        path: its name on this host.
        size: bytes.
        sha256: of its content, in hexadecimal.
    """

    path: str = ""
    size: int | None = None
    sha256: str = ""


@dataclass(frozen=True)
class CopyOutContent(Content):
    """A file that an agent offers, as it was when it was offered.

    Attributes:
        path: in the bottle.
        reason: why the agent offers it.
        files: the one file.
        size: bytes.
        text: of one short text file; else empty.
        staged: name of the copy that waits beside the proposal.
    """

    path: str = ""
    reason: str = ""
    files: tuple[OfferedFile, ...] = ()
    size: int | None = None
    text: str = ""
    staged: str = ""


class _CopyOut(Kind[CopyOutContent]):
    name = "copy-out"
    content = CopyOutContent
    options = (Option("to", "PATH", "file: where to copy it; default: the bottle's inbox", is_path=True),)

    def title(self, content: CopyOutContent) -> str:
        return f"offers the file {content.path} ({_size(content.size)})"

    def summary(self, content: CopyOutContent) -> str:
        return content.path

    def parts(self, content: CopyOutContent) -> Iterator[Part]:
        yield Part("files", "\n".join(f"{_size(file.size):>10}  {file.path}" for file in content.files))
        if content.text:
            yield Part("text", content.text.rstrip("\n"))
        yield from reason(content)

    def answer(self, proposal: Proposal, content: CopyOutContent, values: Mapping[str, Any]) -> Mapping[str, Any]:
        target = values.get("to")
        return {} if target is None else {"to": str(_target(content, target))}

    def outcome(self, ok: bool, text: str) -> str:
        return "They have the file." if ok else "But it could not be copied."

    async def effect(self, proposal: Proposal, content: CopyOutContent, decision: Decision, context: Context) -> Result:
        return await asyncio.to_thread(_copy, proposal, content, decision.answer.get("to"))

    def clean_up(self, proposal: Proposal) -> None:
        staging.discard(proposal.slug, self.read(proposal).staged)


def _size(size: int | None) -> str:
    return "?" if size is None else about_size(size)


def _target(content: CopyOutContent, to: str) -> Path:
    """Return where an offered file goes: into a folder that exists, or that a last ``/`` asks for.

    Raises:
        UsageError: something has that name already, or there is no such folder.
    """
    name, target = staging.file_name(content.path), Path(to).expanduser().absolute()
    new_folder = to.endswith("/") and not os.path.lexists(target) and target.parent.is_dir()
    if new_folder or target.is_dir():
        if program := obeyed_by(PurePosixPath(name)):
            raise UsageError(
                f"{program} of this computer would obey {name} in {target}",
                hint=f"Where you want that, name the file itself: --to {target / name}",
            )
        target /= name
    if os.path.lexists(target):
        raise UsageError(f"{target} is there already", hint="Nothing is overwritten: name another path.")
    if not (new_folder or target.parent.is_dir()):
        raise UsageError(f"there is no folder {target.parent}")
    return target


def _copy(proposal: Proposal, content: CopyOutContent, to: object) -> Result:
    try:
        inbox = staging.inbox(proposal.bottle) if to is None else Path()
        target = staging.free_name(inbox, staging.file_name(content.path)) if to is None else Path(str(to))
        target.parent.mkdir(exist_ok=True)
        staging.release(proposal.slug, content.staged, content.files[0].sha256, target)
    except (BottleError, OSError, LookupError) as error:
        return Result(False, f"It could not be copied: {error}.")
    return Result(True, f"Copied to {target}.", {"path": str(target)})


kind = _CopyOut()
