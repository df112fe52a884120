"""What is planted in a push never runs and never becomes anything else than data."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bb_jupyter.broker.effects import approve
from tests.integration.git_gate.conftest import Clone, Gate
from tests.integration.git_gate.upstreams import CLEAN, Upstream, commit, git


def test_drivers_hooks_and_configuration_in_a_tree_never_run(
    gate: Gate, clone: Clone, upstream: Upstream, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    evil = f"touch {canary}; cat"
    planted = {
        ".gitattributes": "* diff=evil filter=evil merge=evil\n",
        ".gitconfig": f'[diff "evil"]\n\ttextconv = {evil}\n\tcommand = {evil}\n[core]\n\tfsmonitor = {evil}\n',
        "config": f'[filter "evil"]\n\tclean = {evil}\n\tsmudge = {evil}\n[core]\n\thooksPath = hooks\n',
        "hooks/pre-receive": f"#!/bin/sh\n{evil}\n",
        "hooks/pre-push": f"#!/bin/sh\n{evil}\n",
        "hooks/post-checkout": f"#!/bin/sh\n{evil}\n",
        "info/attributes": "* diff=evil\n",
        "sitecustomize.py": f"open({str(canary)!r}, 'w')\n",
        "bb_jupyter/__init__.py": f"open({str(canary)!r}, 'w')\n",
        "HEAD": "ref: refs/heads/main\n",
    }
    for name, text in planted.items():
        (clone.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (clone.folder / name).write_text(text)
        (clone.folder / name).chmod(0o755)
    git(clone.folder, "add", "--all")
    git(clone.folder, "commit", "-qm", "planted")
    clone.push()
    assert {file["path"] for file in gate.pending()[0].content["files"]} == planted.keys()
    outcome = approve(1).outcome
    assert outcome is not None and outcome.ok, outcome
    clone.git("fetch")
    assert not canary.exists()


@pytest.mark.parametrize(
    ("name", "why"), [(".git", "hasDotgit"), (".GIT", "hasDotgit"), ("..", "hasDotdot"), ("git~1", "hasDotgit")]
)
def test_names_that_would_escape_a_checkout_are_refused(clone: Clone, gate: Gate, name: str, why: str) -> None:
    blob = git(clone.folder, "hash-object", "-w", "file")
    inner = git(clone.folder, "mktree", input=f"100644 blob {blob}\tconfig\n")
    tree = git(clone.folder, "mktree", input=f"040000 tree {inner}\t{name}\n")
    sha = git(clone.folder, "commit-tree", "-p", "HEAD", "-m", "x", tree)
    done = clone.git("push", "origin", f"{sha}:refs/heads/evil")
    assert done.returncode == 1
    assert why in done.stderr
    assert gate.pending() == []


def test_submodules_that_are_options_are_refused(clone: Clone, gate: Gate) -> None:
    commit(clone.folder, ".gitmodules", '[submodule "x"]\n\tpath = x\n\turl = --upload-pack=touch\n')
    done = clone.git("push")
    assert done.returncode == 1
    assert "gitmodules" in done.stderr
    assert gate.pending() == []


def test_names_of_branches_are_data(gate: Gate, clone: Clone, upstream: Upstream) -> None:
    sha = commit(clone.folder)
    names = ["-oProxyCommand=x", "--force", "a;touch${IFS}x", "$(id)", "%2e%2e", "ünïcödé", "\u202eevil", "+main"]
    assert clone.git("push", "origin", *(f"{sha}:refs/heads/{name}" for name in names)).returncode == 0
    outcome = approve(1).outcome
    assert outcome is not None and outcome.ok, outcome
    assert {f"refs/heads/{name}" for name in names} <= upstream.refs().keys()


def test_a_name_that_is_not_utf8_is_refused(clone: Clone, gate: Gate) -> None:
    commit(clone.folder)
    done = subprocess.run(
        ["git", "push", "origin", b"HEAD:refs/heads/\xff\xfe"], cwd=clone.folder, env=CLEAN, capture_output=True
    )
    assert done.returncode == 1
    assert b"remote: REFUSED" in done.stderr
    assert gate.pending() == []


def test_words_of_a_commit_stay_words(gate: Gate, clone: Clone) -> None:
    git(clone.folder, "commit", "-q", "--allow-empty", "-m", "\x1b]0;title\x07 <script>x</script>\n\n\u202e\x1b[2J")
    commit(clone.folder, "name with\ttab and \x1b[31m colour", "\x1b[2J\n")
    said = clone.push()
    assert "\x1b[2J" not in said
    content = gate.pending()[0].content
    assert [file["path"] for file in content["files"]] == ["name with␉tab and ␛[31m colour"]


def test_a_replaced_object_or_a_graft_hides_nothing(gate: Gate, clone: Clone) -> None:
    secret = commit(clone.folder, "key", "AKIA" + "2E0A8F3B244C9986")
    git(clone.folder, "rm", "-q", "key")
    git(clone.folder, "commit", "-qm", "gone")
    git(clone.folder, "replace", "--graft", "HEAD", "origin/main")
    assert secret[:10] in clone.refused()
