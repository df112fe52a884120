"""All the ways in which people and programs write one repository's URL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_SCP: Final = re.compile(r"(?:(?P<user>[^@:/\s]+)@)?(?P<host>[^@:/\s\[\]]+):(?P<path>[^:].*)")
_PORTS: Final = {"ssh": 22, "https": 443}


@dataclass(frozen=True)
class _Place:
    """Where a repository is: `path` without a slash in front."""

    scheme: str
    user: str
    host: str
    port: int
    path: str


def _place(url: str) -> _Place:
    if "://" not in url and (match := _SCP.fullmatch(url)):
        return _Place("ssh", match["user"] or "", match["host"], 22, match["path"].lstrip("/"))
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    host = host.removesuffix(f":{parts.port}") if parts.port else host
    return _Place(parts.scheme, parts.username or "", host, parts.port or _PORTS[parts.scheme], parts.path.lstrip("/"))


def spellings(url: str, username: str = "") -> list[str]:
    """Return the URLs by which a bottle may ask for an upstream, longest first.

    With and without ``.git``, user and usual port; ssh in both of its notations.  A forge serves the same repository
    by ssh and by https, so each stands for the other as long as no unusual port is named.

    Args:
        url: as declared and checked: ``ssh://``, ``user@host:path``, ``https://`` or an absolute path.
        username: a user name that https URLs may hold.
    """
    found = _local(url) if url.startswith("/") else _remote(_place(url), username)
    bare = [text.rstrip("/").removesuffix(".git") for text in found]
    return sorted({*bare, *(f"{text}.git" for text in bare)}, key=lambda text: (-len(text), text))


def _local(path: str) -> Iterator[str]:
    yield path
    yield f"file://{path}"


def _remote(place: _Place, username: str) -> Iterator[str]:
    usual = place.port == _PORTS[place.scheme]
    ports = ["", f":{place.port}"] if usual else [f":{place.port}"]
    ssh_users = {"", f"{place.user or 'git'}@"}
    if place.scheme == "ssh" or usual:
        port = ports if place.scheme == "ssh" else ["", ":22"]
        yield from (f"ssh://{user}{place.host}{p}/{place.path}" for user in ssh_users for p in port)
    if usual:
        yield from (f"{user}{place.host}:{place.path}" for user in ssh_users)
    if place.scheme == "https" or usual:
        port = ports if place.scheme == "https" else ["", ":443"]
        users = {"", "git@", *([f"{username}@"] if username else [])}
        yield from (f"https://{user}{place.host}{p}/{place.path}" for user in users for p in port)
