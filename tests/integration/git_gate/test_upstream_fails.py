"""Upstream is gone, moved, or not who it should be: nothing is served that is old, nothing is pushed that is stale."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bb_jupyter.approvals import status
from bb_jupyter.broker.effects import approve, deny
from tests.integration.git_gate.conftest import Clone, Gate, config, make_upstream
from tests.integration.git_gate.upstreams import TOKEN, TOKEN_REF, Https, Sshd, Upstream, commit, git


def test_a_fetch_and_a_push_fail_with_the_reason(gate: Gate, clone: Clone, upstream: Upstream) -> None:
    upstream.path.rename(upstream.path.with_suffix(".away"))
    commit(clone.folder)
    for command in ("fetch", "push"):
        done = clone.git(command)
        assert done.returncode != 0
        assert "remote: upstream of 'widgets' cannot be used: " in done.stderr
        assert "tell your human" in done.stderr
        assert str(upstream.path.parent) not in done.stderr
    assert gate.pending() == []
    upstream.path.with_suffix(".away").rename(upstream.path)
    clone.push()


def test_upstream_moved_meanwhile_the_push_stays_held(gate: Gate, clone: Clone, upstream: Upstream) -> None:
    commit(clone.folder)
    clone.push()
    theirs = upstream.move()
    outcome = approve(1).outcome
    assert outcome is not None and not outcome.ok and outcome.held
    assert "upstream moved: refs/heads/main" in outcome.text
    assert upstream.refs() == {"refs/heads/main": theirs}
    assert status(1).state == "pending"
    assert [held.id for held in gate.pending()] == [1]
    # The agent learns it and does the sensible thing.
    done = clone.git("pull", "--rebase")
    assert "remote: Approved, but not upstream: request 1" in done.stderr, done.stderr
    assert "request 2" in clone.push()
    outcome = approve(2).outcome
    assert outcome is not None and outcome.ok


def test_upstream_force_moved_meanwhile(gate: Gate, clone: Clone, upstream: Upstream) -> None:
    commit(clone.folder)
    clone.push()
    git(upstream.path, "update-ref", "refs/heads/main", "main~1")
    before = upstream.refs()
    outcome = approve(1).outcome
    assert outcome is not None and not outcome.ok and outcome.held
    assert upstream.refs() == before


def test_a_branch_that_exists_meanwhile_is_not_overwritten(gate: Gate, clone: Clone, upstream: Upstream) -> None:
    commit(clone.folder)
    clone.push("origin", "HEAD:new", "HEAD:other")
    git(upstream.path, "branch", "new", "main~1")
    before = upstream.refs()
    outcome = approve(1).outcome
    assert outcome is not None and not outcome.ok and outcome.held
    assert "refs/heads/new exists now" in outcome.text
    assert upstream.refs() == before  # the other one did not go alone


def test_upstream_unreachable_at_the_release_and_back_again(gate: Gate, clone: Clone, upstream: Upstream) -> None:
    sha = commit(clone.folder)
    clone.push()
    upstream.path.rename(upstream.path.with_suffix(".away"))
    outcome = approve(1).outcome
    assert outcome is not None and not outcome.ok and outcome.held
    assert "cannot be used" in outcome.text
    upstream.path.with_suffix(".away").rename(upstream.path)
    outcome = approve(1).outcome
    assert outcome is not None and outcome.ok
    assert upstream.refs() == {"refs/heads/main": sha}


def test_upstreams_own_hooks_have_their_say(gate: Gate, clone: Clone, upstream: Upstream) -> None:
    hook = upstream.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho not on a Friday >&2\nexit 1\n")
    hook.chmod(0o755)
    commit(clone.folder)
    clone.push()
    outcome = approve(1).outcome
    assert outcome is not None and not outcome.ok and outcome.held
    assert "upstream refused refs/heads/main" in outcome.text


def test_another_host_key_is_never_trusted(
    sshd: Sshd, gates: Callable[..., Gate], request: pytest.FixtureRequest, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    upstream = make_upstream("ssh", request, tmp_path, monkeypatch)
    stranger = " ".join(sshd.stranger.with_suffix(".pub").read_text().split()[:2])
    wrong = gates(config(upstream, host_key=stranger), config(upstream, "unpinned", host_key=""))
    for alias in ("widgets", "unpinned"):  # a key that nobody has seen is no better than a wrong one
        with pytest.raises(AssertionError, match=r"Host key verification failed|host key is known"):
            Clone(tmp_path / alias, f"{wrong.url}/{alias}.git")


def test_a_wrong_identity_is_refused_at_once(
    sshd: Sshd, gates: Callable[..., Gate], request: pytest.FixtureRequest, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    upstream = make_upstream("ssh", request, tmp_path, monkeypatch)
    gate = gates(config(upstream, identity=str(sshd.stranger)))
    with pytest.raises(AssertionError, match="Permission denied"):
        Clone(tmp_path / "clone", f"{gate.url}/widgets.git")


def test_a_wrong_token_is_refused_without_a_prompt_and_never_shown(
    gates: Callable[..., Gate], request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = make_upstream("https", request, tmp_path, monkeypatch)
    gate = gates(config(upstream, token="wr0ng-token-value"))
    with pytest.raises(AssertionError, match="cannot be used") as caught:
        Clone(tmp_path / "clone", f"{gate.url}/widgets.git")
    assert "wr0ng" not in str(caught.value)


_REFLECTS = f"""#!{sys.executable}
import sys
from bb_jupyter.broker.git_gate.hook import read_packets, write_packets
read_packets(sys.stdin.buffer)
write_packets(sys.stdout.buffer, [b"version=1" + bytes(1)])
names = [line.split(b" ")[2] for line in read_packets(sys.stdin.buffer)]
write_packets(sys.stdout.buffer, [b"ng " + name + b" not with {TOKEN}" for name in names])
"""


def test_a_token_that_upstream_shows_when_it_refuses_is_masked(
    gates: Callable[..., Gate], request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = make_upstream("https", request, tmp_path, monkeypatch)
    hook = upstream.path / "hooks" / "proc-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(_REFLECTS)
    hook.chmod(0o755)
    git(upstream.path, "config", "receive.procReceiveRefs", "refs")
    gate = gates(config(upstream))
    clone = Clone(tmp_path / "clone", f"{gate.url}/widgets.git")
    commit(clone.folder)
    clone.push()
    outcome = approve(1).outcome
    assert outcome is not None and not outcome.ok
    assert "not with ***" in outcome.text and TOKEN not in outcome.text


def test_a_server_with_another_certificate_is_not_trusted(
    gates: Callable[..., Gate], request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = make_upstream("https", request, tmp_path, monkeypatch)
    monkeypatch.delenv("GIT_SSL_CAINFO")
    gate = gates(config(upstream))
    with pytest.raises(AssertionError, match="certificate"):
        Clone(tmp_path / "clone", f"{gate.url}/widgets.git")


def test_a_forge_with_a_ca_of_its_own(
    https: Https, gates: Callable[..., Gate], request: pytest.FixtureRequest, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    upstream = make_upstream("https", request, tmp_path, monkeypatch)
    monkeypatch.delenv("GIT_SSL_CAINFO")
    gate = gates(config(upstream, ca=str(https.ca_file)))
    clone = Clone(tmp_path / "clone", f"{gate.url}/widgets.git")
    sha = commit(clone.folder)
    clone.push()
    gate.close()
    outcome = approve(1).outcome  # by a process that knows of the forge what the proposal says
    assert outcome is not None and outcome.ok, outcome
    assert upstream.refs() == {"refs/heads/main": sha}


def test_a_sha256_repository_is_refused_in_words(gates: Callable[..., Gate], tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main", "--object-format=sha256", "work")
    commit(tmp_path / "work")
    gate = gates(config(Upstream(tmp_path / "work", str(tmp_path / "work"))))
    with pytest.raises(AssertionError, match="the git gate knows no sha256 repositories"):
        Clone(tmp_path / "clone", f"{gate.url}/widgets.git")


def test_what_is_denied_after_its_bottles_end_leaves_nothing(gate: Gate, clone: Clone, home: Path) -> None:
    commit(clone.folder)
    clone.push()
    gate.close()
    assert (home / "git" / gate.slug).exists()
    deny(1, why="too late")
    assert not (home / "git" / gate.slug).exists()


@pytest.mark.parametrize("kind", ["path", "ssh", "https"])
def test_the_broker_died_and_another_process_releases(
    kind: str, gates: Callable[..., Gate], request: pytest.FixtureRequest, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, home: Path,
) -> None:  # fmt: skip
    upstream = make_upstream(kind, request, tmp_path, monkeypatch)
    gate = gates(config(upstream))
    clone = Clone(tmp_path / "clone", f"{gate.url}/widgets.git")
    sha = commit(clone.folder)
    clone.push()
    gate.close()
    (held,) = gate.pending()
    text = (home / "approvals" / gate.slug / f"{held.id}.json").read_text()
    assert TOKEN not in text
    if kind == "https":
        monkeypatch.delenv(TOKEN_REF)
        outcome = approve(held.id).outcome
        assert outcome is not None and outcome.held and TOKEN_REF in outcome.text
        monkeypatch.setenv(TOKEN_REF, TOKEN)
    outcome = approve(held.id).outcome
    assert outcome is not None and outcome.ok, outcome
    assert upstream.refs() == {"refs/heads/main": sha}
    assert not (home / "git" / gate.slug).exists()
