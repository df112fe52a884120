"""Files that bottles offer: a copy on this host, as the file was when it was offered, until the human has decided.

So the human gets what was shown, whatever the bottle does with its own file meanwhile.  The copy lies beside the queue,
readable by this user alone; its digest is checked again when it is released.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from bb_jupyter.approvals.store.storage import SLUG, approvals_dir
from bb_jupyter.errors import BottleError, UsageError
from bb_jupyter.home import bot_bottle_home, private_dir

#: Most bytes of a file that a bottle offers.
LARGEST: Final = 32 << 20
#: Longest text of a file that the human sees before deciding, in bytes.
_SHOWN: Final = 64 << 10
_NAME: Final = re.compile(r"staged-[0-9a-f]{1,40}\Z")
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def staged(slug: str, name: str) -> Path:
    """Return the path of a staged file.

    Args:
        slug: the bottle's.
        name: ``staged-`` and hexadecimal digits.

    Raises:
        UsageError: that is no staged file's name.
    """
    if not SLUG.match(slug) or not _NAME.match(name):
        raise UsageError("this is not a staged file's name")
    return approvals_dir() / slug / name


def request_name(number: int) -> str:
    """Return the name of a file that is being fetched, by the number of its request."""
    return f"staged-{number:x}"


def store(slug: str, name: str, chunks: Iterable[bytes]) -> None:
    """Write a staged file.

    Raises:
        UsageError: it is larger than `LARGEST`.
        OSError: the disk is full or not writable.
    """
    path = staged(slug, name)
    left = LARGEST
    with os.fdopen(os.open(path, _WRITE, 0o600), "wb") as file:
        for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                raise UsageError(f"the file is larger than {LARGEST >> 20} MiB")
            file.write(chunk)


def seal(slug: str, name: str, path: str, reason: str) -> dict[str, Any]:
    """Rename a staged file by its content, path and reason, so that no two proposals share one.

    Args:
        slug: the bottle's.
        name: under which it was fetched.
        path: of the file in the bottle.
        reason: why it is offered.

    Returns:
        The fields ``staged``, ``files``, ``size`` and ``text`` of a ``copy-out`` proposal.

    Raises:
        BottleError: it is not there.
    """
    data = _content(staged(slug, name))
    digest = hashlib.sha256(data).hexdigest()
    sealed = "staged-" + hashlib.sha256(f"{digest} {path}\0{reason}".encode("utf-8", "surrogatepass")).hexdigest()[:40]
    staged(slug, name).replace(staged(slug, sealed))
    files = [{"path": file_name(path), "size": len(data), "sha256": digest}]
    return {"staged": sealed, "files": files, "size": len(data), "text": _text(data)}


def release(slug: str, name: str, digest: str, target: Path) -> None:
    """Copy a staged file to *target*, which must not exist.

    Raises:
        BottleError: the file has changed, *target* exists, or it cannot be written.
    """
    data = _content(staged(slug, name))
    if hashlib.sha256(data).hexdigest() != digest:
        raise BottleError("the file is not what was offered")
    try:
        with os.fdopen(os.open(target, _WRITE, 0o644), "wb") as file:
            file.write(data)
    except OSError as error:
        raise BottleError(f"cannot write {target}: {error.strerror}") from None


def discard(slug: str, name: str) -> None:
    """Remove a staged file, if it is there."""
    with contextlib.suppress(OSError, UsageError):
        staged(slug, name).unlink(missing_ok=True)


def inbox(bottle: str) -> Path:
    """Return the folder for a bottle's files where no other is named; it is made."""
    return private_dir(bot_bottle_home() / "inbox" / bottle)


def free_name(folder: Path, name: str) -> Path:
    """Return a path in *folder* that does not exist: ``report.pdf``, or ``report-2.pdf``."""
    stem, suffix = posixpath.splitext(name)
    names = (name if number == 1 else f"{stem}-{number}{suffix}" for number in range(1, 10_000))
    return next(folder / wanted for wanted in names if not os.path.lexists(folder / wanted))


def file_name(path: str) -> str:
    """Return a safe name on this host for a file of the bottle: not hidden, and not to be taken for an option."""
    name = re.sub(r"[^\w.,+@=-]+", "_", posixpath.basename(path.rstrip("/")), flags=re.ASCII).lstrip(".-")[:100]
    return name or "file"


def _content(path: Path) -> bytes:
    try:
        with os.fdopen(os.open(path, _READ), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_size > LARGEST:
                raise BottleError("the file is not what was offered")
            return file.read(LARGEST)
    except OSError:
        raise BottleError("the file is not there any more") from None


def _text(data: bytes) -> str:
    if len(data) > _SHOWN or b"\0" in data:
        return ""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return ""
