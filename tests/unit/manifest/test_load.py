"""Bottles of the home and of the kernel: extends, listing, what is wrong with a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bb_jupyter.errors import ManifestError, UsageError
from bb_jupyter.manifest import define_bottle, list_bottles, load_bottle, resolve_token

from .conftest import Write

BASE = """\
---
image: debian:12
env: {A: base, B: base}
agent_provider: {template: claude, auth_token: KEY}
copies: [one]
egress:
  routes:
  - host: A.example
    methods: [GET]
  - host: b.example
git-gate:
  user: {name: Base, email: base@example.org}
  repos: {w: {url: /srv/w.git, allow_force: true}, v: {url: /srv/v.git}}
limits: {cpus: 2, memory: 1g}
supervise: true
---
Base.
"""


def test_extends_merges(at_home: Write) -> None:
    at_home("bottles/base.md", BASE)
    file = at_home(
        "bottles/dev.md",
        """\
---
extends: base
env: {B: dev, C: dev}
agent_provider: {dockerfile: Dockerfile.dev}
copies: [two]
egress: {routes: [{host: a.example}, {host: c.example}]}
git-gate: {repos: {w: {url: /srv/other.git}}}
limits: {memory: 2g}
---
""",
    )
    dev = load_bottle("dev")
    assert (dev.name, dev.origin, dev.path, dev.description, dev.extends) == ("dev", "home", str(file), "", ("base",))
    assert dev.env == {"A": "base", "B": "dev", "C": "dev"}
    assert dev.image == "debian:12" and dev.supervise and dev.copies == ("two",)
    assert dev.agent_provider.template == "claude" and dev.agent_provider.auth_token == "KEY"
    assert dev.agent_provider.dockerfile == str(file.parent / "Dockerfile.dev")
    assert [(r.host, r.methods) for r in dev.egress.routes] == [
        ("b.example", None),
        ("a.example", None),
        ("c.example", None),
    ]
    assert dev.git_gate.user and dev.git_gate.user.name == "Base"
    assert dev.git_gate.repos["w"].url == "/srv/other.git" and not dev.git_gate.repos["w"].allow_force
    assert "v" in dev.git_gate.repos
    assert (dev.limits.cpus, dev.limits.memory) == (2, 2 * 2**30)


@pytest.mark.parametrize("egress", ["egress:", "egress: {}", "egress: {routes: []}"])
def test_a_child_can_close_the_network(at_home: Write, egress: str) -> None:
    at_home("bottles/base.md", BASE)
    assert define_bottle("shut", f"extends: base\n{egress}").egress.routes == ()
    assert len(define_bottle("open", "extends: base").egress.routes) == 2


def test_later_parents_win(at_home: Write) -> None:
    at_home("bottles/one.md", "---\nenv: {A: one, X: one}\nsupervise: true\n---")
    at_home("bottles/two.md", "---\nenv: {A: two}\nsupervise: false\n---")
    both = define_bottle("both", "extends: [one, two]")
    assert both.env == {"A": "two", "X": "one"} and not both.supervise


def test_a_cycle_is_shown_as_its_chain(at_home: Write) -> None:
    for name, parent in (("a", "b"), ("b", "c"), ("c", "b")):
        at_home(f"bottles/{name}.md", f"---\nextends: {parent}\n---")
    with pytest.raises(ManifestError, match="extends: goes in a circle: b → c → b") as caught:
        load_bottle("a")
    assert caught.value.line == 2


def test_a_bottle_cannot_extend_itself() -> None:
    with pytest.raises(ManifestError, match="goes in a circle: me → me"):
        define_bottle("me", "extends: me")


def test_an_unknown_parent_has_a_near_match(at_home: Write) -> None:
    at_home("bottles/python.md", "---\n---")
    with pytest.raises(ManifestError, match=r"<cell>:1: extends: no bottle is named 'pyton'\nDid you mean 'python'\?"):
        define_bottle("dev", "extends: pyton")


@pytest.mark.parametrize("parent", ["../secrets/x", "a\\x1b[2J", "/etc/passwd", ""])
def test_a_parent_is_a_name_and_no_path(parent: str) -> None:
    with pytest.raises(ManifestError, match="no bottle is named") as caught:
        define_bottle("dev", f'extends: "{parent}"')
    assert str(caught.value).replace("\n", "").isprintable()


def test_an_unknown_bottle_has_a_near_match(at_home: Write) -> None:
    with pytest.raises(ManifestError, match=r"no bottle is named 'dev'\nWrite it there as dev.md"):
        load_bottle("dev")
    at_home("bottles/develop.md", "---\n---")
    with pytest.raises(ManifestError, match="Did you mean 'develop'"):
        load_bottle("develp")


def test_a_kernels_bottle_comes_first_and_a_refused_one_changes_nothing(at_home: Write) -> None:
    at_home("bottles/dev.md", "---\nimage: from-home\n---")
    define_bottle("dev", "image: from-cell", "In [3]")
    with pytest.raises(ManifestError, match=r"In \[4\]:1: imag: unknown key"):
        define_bottle("dev", "imag: x", "In [4]")
    with pytest.raises(ManifestError, match="circle"):
        define_bottle("dev", "extends: dev")
    found = load_bottle("dev")
    assert (found.image, found.origin, found.path) == ("from-cell", "kernel", "In [3]")


def test_names_are_checked() -> None:
    for call in (load_bottle, lambda name: define_bottle(name, "")):
        with pytest.raises(UsageError, match="cannot name a bottle"):
            call("../dev")


def test_listing_shows_broken_ones_with_their_error(at_home: Write) -> None:
    at_home("bottles/good.md", "---\n---\nFine.")
    at_home("bottles/broken.md", "---\nimage: [\n---")
    at_home("bottles/Bad Name.md", "---\n---")
    at_home("bottles/notes.txt", "not a manifest")
    define_bottle("cell", "image: x")
    entries = {entry.name: entry for entry in list_bottles()}
    assert sorted(entries) == ["Bad Name", "broken", "cell", "good"]
    assert entries["good"].manifest and entries["good"].manifest.description == "Fine."
    assert entries["cell"].origin == "kernel" and entries["broken"].origin == "home"
    assert "not valid YAML" in str(entries["broken"].error)
    assert "cannot name a bottle" in str(entries["Bad Name"].error)


def test_nothing_there_is_an_empty_listing() -> None:
    assert list_bottles() == []


def test_bytes_that_are_no_utf8_are_named(home: Path, at_home: Write) -> None:
    at_home("bottles/latin.md", "").write_bytes(b"---\nimage: caf\xe9\n---\n")
    with pytest.raises(ManifestError, match=r"latin.md:2: not UTF-8: byte 0xe9 at offset 14"):
        load_bottle("latin")


def test_only_regular_files_are_read_and_nothing_waits(home: Path) -> None:
    (home / "bottles" / "folder.md").mkdir(parents=True)
    os.mkfifo(home / "bottles" / "fifo.md")
    (home / "bottles" / "device.md").symlink_to("/dev/zero")
    (home / "bottles" / "dangling.md").symlink_to("nowhere")
    for name, words in (
        ("folder", "a folder"),
        ("fifo", "a FIFO"),
        ("device", "a device"),
        ("dangling", "cannot be read: No such file"),
    ):
        with pytest.raises(ManifestError, match=words):
            load_bottle(name)


def test_a_link_of_the_users_own_is_followed(home: Path, tmp_path: Path) -> None:
    (tmp_path / "dotfile").write_text("---\nimage: x\n---")
    (home / "bottles").mkdir(parents=True)
    (home / "bottles" / "dev.md").symlink_to(tmp_path / "dotfile")
    assert load_bottle("dev").image == "x"


def test_a_large_file_is_refused(at_home: Write) -> None:
    at_home("bottles/big.md", "---\n---\n" + "x" * 300_000)
    with pytest.raises(ManifestError, match="larger than 256 KiB"):
        load_bottle("big")


def test_tokens_come_from_the_environment_or_from_secrets(at_home: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    at_home("secrets/my-token", "from-file\n")
    monkeypatch.setenv("MY_TOKEN", "from-env")
    assert (resolve_token("my-token"), resolve_token("MY_TOKEN")) == ("from-file", "from-env")


@pytest.mark.parametrize("value", ["", "  ", "topsecret\r\nX-Evil: 1", "topsecret\0", "topsecrét"])
def test_a_token_that_cannot_be_sent_is_refused_without_showing_it(at_home: Write, value: str) -> None:
    at_home("secrets/token", value)
    with pytest.raises(ManifestError, match=r"secrets/token (is empty|holds)") as caught:
        resolve_token("token")
    assert "topsecr" not in str(caught.value)


def test_an_unset_or_empty_token_is_named(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    with pytest.raises(ManifestError, match=r"the environment variable NOT_SET nor the file .*/secrets/NOT_SET"):
        resolve_token("NOT_SET")
    monkeypatch.setenv("SET_EMPTY", "")
    with pytest.raises(ManifestError, match="the environment variable SET_EMPTY is empty"):
        resolve_token("SET_EMPTY")
