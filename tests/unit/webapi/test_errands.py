"""A process asks the owner of a bottle to allow a host."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from bb_jupyter.core.owner_requests import OwnerRequests, ask_to_allow
from bb_jupyter.errors import BottleError, ManifestError, UsageError


class Bottle:
    """Stands for one that this process holds; each test has its own, for the threads that serve them go on."""

    def __init__(self, slug: str) -> None:
        self.slug = slug
        self.hosts: list[str] = []

    def allow(self, *hosts: str) -> int:
        if hosts == ("bad",):
            raise UsageError("not a host", hint="Write another.")
        if hosts == ("refused",):
            raise ManifestError("the gateway refuses it")
        if hosts == ("broken",):
            raise RuntimeError("with details of ours")
        self.hosts += hosts
        return len(self.hosts)


@pytest.fixture
def bottle(home: Path, bottle_name: str) -> Bottle:
    made = Bottle(f"{bottle_name}-0a1b2c3d")
    (home / "state" / made.slug).mkdir(parents=True)
    return made


def test_the_owner_does_it_and_says_so(bottle: Bottle, home: Path) -> None:
    OwnerRequests(lambda: [bottle]).start()
    assert ask_to_allow(bottle.slug, "a.example.org") == 1
    assert ask_to_allow(bottle.slug, "b.example.org") == 2
    assert bottle.hosts == ["a.example.org", "b.example.org"]
    assert [*(home / "state" / bottle.slug / "errands").iterdir()] == []


def test_what_the_owner_refuses_is_refused_in_its_words(bottle: Bottle) -> None:
    OwnerRequests(lambda: [bottle]).start()
    with pytest.raises(UsageError, match="not a host"):
        ask_to_allow(bottle.slug, "bad")
    with pytest.raises(BottleError, match="the gateway refuses it"):
        ask_to_allow(bottle.slug, "refused")
    with pytest.raises(BottleError, match="RuntimeError"):
        ask_to_allow(bottle.slug, "broken")


def test_nobody_answers(bottle: Bottle, home: Path) -> None:
    with pytest.raises(BottleError, match="did not answer"):
        ask_to_allow(bottle.slug, "a.example.org", patience=0.1)
    assert [*(home / "state" / bottle.slug / "errands").iterdir()] == []
    with pytest.raises(UsageError, match="does not run"):
        ask_to_allow("gone-0a1b2c3d", "a.example.org")


def test_what_nobody_waits_for_any_more_is_not_done(bottle: Bottle, home: Path) -> None:
    folder = home / "state" / bottle.slug / "errands"
    folder.mkdir()
    (folder / "old.json").write_text(json.dumps({"allow": "late.example.org", "until": time.time() - 1}))
    (folder / "cut.json").write_text('{"allow": ')
    OwnerRequests(lambda: [bottle]).start()
    assert ask_to_allow(bottle.slug, "now.example.org") == 1
    assert bottle.hosts == ["now.example.org"]
    assert [*folder.iterdir()] == []
