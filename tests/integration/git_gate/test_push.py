"""What a push and a fetch through the gate do, with each kind of upstream."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from bb_jupyter.approvals import status
from bb_jupyter.broker.effects import approve, deny
from tests.integration.git_gate.conftest import Clone, Gate, config
from tests.integration.git_gate.upstreams import Upstream, commit, git


def test_a_push_is_held_and_goes_upstream_when_it_is_approved(
    any_upstream: Upstream, gates: Callable[..., Gate], tmp_path: Path
) -> None:
    gate = gates(config(any_upstream))
    clone = Clone(tmp_path / "clone", f"{gate.url}/widgets.git")
    before = any_upstream.refs()
    sha = commit(clone.folder)
    said = clone.push()
    (held,) = gate.pending()
    assert f"remote: Held for review: request {held.id} (1 commit, 1 file)" in said
    assert f"main -> refs/held/{held.id}/heads/main" in said
    assert any_upstream.refs() == before
    assert clone.git("rev-parse", "origin/main").stdout.strip() == before["refs/heads/main"]
    outcome = approve(held.id).outcome
    assert outcome is not None
    assert outcome.ok, outcome
    assert any_upstream.refs() == {"refs/heads/main": sha}
    assert "main" in clone.git("fetch").stderr
    assert clone.git("rev-parse", "origin/main").stdout.strip() == sha


def test_the_proposal_says_what_a_human_has_to_see(gate: Gate, clone: Clone, upstream: Upstream) -> None:
    before = upstream.refs()["refs/heads/main"]
    commit(clone.folder, "src/new.py", "print('new')\n")
    (clone.folder / "blob").write_bytes(bytes(range(256)))
    git(clone.folder, "add", ".")
    git(clone.folder, "commit", "-qm", "A picture\n\nOf many bytes.")
    sha = git(clone.folder, "rev-parse", "HEAD")
    clone.push("origin", "HEAD:topic")
    content = gate.pending()[0].content
    assert (content["alias"], content["url"]) == ("widgets", upstream.url)
    assert content["refs"] == [{"name": "refs/heads/topic", "old": "0" * 40, "new": sha, "kind": "create"}]
    assert [(c["subject"], c["body"]) for c in content["commits"]] == [
        ("A picture", "Of many bytes."),
        ("change src/new.py", ""),
    ]
    assert content["commits"][0]["author"] == "name@t <email@t>"
    files = {file["path"]: file for file in content["files"]}
    assert files["src/new.py"] == {"path": "src/new.py", "status": "A", "added": 1, "deleted": 0, "binary": False}
    assert files["blob"]["binary"]
    assert "+print('new')" in content["diff"]
    assert not content["truncated"]
    assert before != sha


def test_the_words_of_a_tag_are_shown_and_a_long_text_is_said_to_go_on(gate: Gate, clone: Clone) -> None:
    git(clone.folder, "tag", "-a", "-m", "Version one\n\nWith all of it.", "v1")
    clone.push("origin", "v1")
    content = gate.pending()[0].content
    shown = [(tag["subject"], tag["body"], tag["author"]) for tag in content["commits"]]
    assert shown == [("tag v1: Version one", "With all of it.", "name@t <email@t>")]
    assert not content["truncated"]
    git(clone.folder, "commit", "-q", "--allow-empty", "-m", "much\n\n" + "word " * 1000)
    clone.push()
    content = gate.pending()[1].content
    assert content["truncated"] and content["commits"][0]["body"].endswith("…")


def test_what_the_head_of_a_commit_or_tag_holds_unseen_is_named(gate: Gate, clone: Clone) -> None:
    head, tree = (git(clone.folder, "rev-parse", name) for name in ("HEAD", "HEAD^{tree}"))
    who, other = "name@t <email@t> 1700000000 +0000", "Else <e@t> 1700000000 +0000"
    objects = {
        "commit": f"tree {tree}\nparent {head}\nauthor {who}\ncommitter {other}\nx-data a\n b\n\nm\n",
        "tag": f"object {head}\ntype commit\ntag v1\ntagger {who}\ntag v2\n\nm\n",
    }
    for kind, text in objects.items():
        sha = git(clone.folder, "hash-object", "-t", kind, "-w", "--stdin", input=text)
        clone.push("origin", f"{sha}:refs/{'heads' if kind == 'commit' else 'tags'}/unseen")
    commit, tag = (proposal.content for proposal in gate.pending())
    assert commit["commits"][0]["author"] == "name@t <email@t>, committed by Else <e@t>"
    assert tag["commits"][0]["subject"] == "tag v1: m"
    for content, name in ((commit, "x-data"), (tag, "tag")):
        (finding,) = content["findings"]
        assert f"fields of commits or tags that are not shown: {name} (" in finding["rule"]


def test_findings_that_are_too_many_are_counted(gate: Gate, clone: Clone) -> None:
    for number in range(120):
        (clone.folder / f"f{number}").write_text(f'password = "correct horse {number}"\n')
    git(clone.folder, "add", ".")
    git(clone.folder, "commit", "-qm", "many")
    clone.push()
    findings = gate.pending()[0].content["findings"]
    assert (len(findings), findings[-1]["rule"]) == (101, "20 more findings are not listed here")


def test_attributes_of_upstream_hide_nothing(gate: Gate, clone: Clone, upstream: Upstream, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(upstream.path), "theirs")
    commit(tmp_path / "theirs", ".gitattributes", "* -diff\n")
    git(tmp_path / "theirs", "push", "-q", "origin", "HEAD:main")
    clone.git("pull", "-q")
    commit(clone.folder, "a.py", "print('seen')\n")
    clone.push()
    assert "+print('seen')" in gate.pending()[0].content["diff"]


def test_what_is_only_in_the_history_is_named(gate: Gate, clone: Clone) -> None:
    commit(clone.folder, "passing.txt", "here for one commit\n")
    git(clone.folder, "rm", "-q", "passing.txt")
    git(clone.folder, "commit", "-qm", "gone again")
    clone.push()
    (finding,) = gate.pending()[0].content["findings"]
    assert finding["path"] == "passing.txt"
    assert "the diff does not show it" in finding["rule"]


def test_a_denied_push_is_told_at_the_next_fetch_which_brings_nothing_else(gate: Gate, clone: Clone) -> None:
    commit(clone.folder)
    clone.push()
    number = gate.pending()[0].id
    deny(number, why="use tabs, please")
    fetched = clone.git("fetch")
    assert fetched.returncode == 0
    assert f"remote: Denied: request {number} (refs/heads/main): use tabs, please" in fetched.stderr
    assert "use tabs, please" in clone.git("tag", "-n9").stdout
    assert "Denied" not in clone.git("fetch").stderr  # once
    commit(clone.folder)
    assert "Denied" not in clone.push("--tags", "origin", "main")


def test_a_denied_push_is_told_at_the_next_push(gate: Gate, clone: Clone) -> None:
    commit(clone.folder)
    clone.push()
    deny(gate.pending()[0].id, why="use spaces")
    commit(clone.folder)
    assert "remote: Denied: request 1 (refs/heads/main): use spaces" in clone.push()


def test_the_same_push_again_is_the_same_proposal(gate: Gate, clone: Clone) -> None:
    commit(clone.folder)
    clone.push()
    assert "request 1 " in clone.push()
    assert [held.id for held in gate.pending()] == [1]


def test_a_new_push_takes_the_place_of_the_held_one(gate: Gate, clone: Clone, upstream: Upstream) -> None:
    commit(clone.folder)
    clone.push()
    sha = commit(clone.folder)
    assert "request 2" in clone.push()
    assert status(1).state == "withdrawn"
    approve(2)
    assert upstream.refs()["refs/heads/main"] == sha


def test_a_push_that_overlaps_takes_the_place_too_and_says_what_is_lost(gate: Gate, clone: Clone) -> None:
    commit(clone.folder)
    clone.push("origin", "HEAD:a", "HEAD:b")
    commit(clone.folder)
    said = clone.push("origin", "HEAD:b")
    assert "Request 1 is withdrawn" in said
    assert "it also held refs/heads/a" in said
    assert status(1).state == "withdrawn"


def test_other_branches_are_held_beside_each_other(gate: Gate, clone: Clone) -> None:
    commit(clone.folder)
    clone.push("origin", "HEAD:a")
    clone.push("origin", "HEAD:b")
    assert [held.id for held in gate.pending()] == [1, 2]


def test_only_some_refs_are_approved_and_the_agent_learns_which(gate: Gate, clone: Clone, upstream: Upstream) -> None:
    sha = commit(clone.folder)
    clone.push("origin", "HEAD:a", "HEAD:b", "HEAD:refs/tags/v1")
    approve(1, refs=["a", "v1"], why="b is not ready")
    refs = upstream.refs()
    assert refs.pop("refs/heads/main") != sha
    assert refs == {"refs/heads/a": sha, "refs/tags/v1": sha}
    commit(clone.folder)
    assert "not refs/heads/b: b is not ready" in clone.push()


def test_an_allowed_rewrite_and_deletion_are_held_and_released(
    upstream: Upstream, gates: Callable[..., Gate], tmp_path: Path
) -> None:
    gate = gates(config(upstream, allow_force=True, allow_delete=True))
    git(upstream.path, "branch", "old", "main")
    clone = Clone(tmp_path / "clone", f"{gate.url}/widgets.git")
    git(clone.folder, "reset", "-q", "--hard", "HEAD~1")
    sha = commit(clone.folder, "other")
    clone.push("--force", "origin", "main", ":old")
    assert [ref["kind"] for ref in gate.pending()[0].content["refs"]] == ["update", "delete"]
    outcome = approve(1).outcome
    assert outcome is not None and outcome.ok, outcome
    assert upstream.refs() == {"refs/heads/main": sha}


def test_a_fetch_brings_what_upstream_has_now(gate: Gate, clone: Clone, upstream: Upstream) -> None:
    sha = upstream.move()
    git(upstream.path, "tag", "v1", sha)
    git(upstream.path, "branch", "gone", sha)
    clone.git("fetch")
    git(upstream.path, "branch", "-D", "gone")
    clone.git("fetch", "--prune")
    refs = clone.git("for-each-ref", "--format=%(refname)").stdout.split()
    assert clone.git("rev-parse", "origin/main").stdout.strip() == sha
    assert "refs/tags/v1" in refs
    assert "refs/remotes/origin/gone" not in refs


def test_a_clone_checks_out_what_upstream_does(upstream: Upstream, gates: Callable[..., Gate], tmp_path: Path) -> None:
    git(upstream.path, "branch", "mux", "main")
    git(upstream.path, "symbolic-ref", "HEAD", "refs/heads/mux")
    gate = gates(config(upstream))
    clone = Clone(tmp_path / "clone", f"{gate.url}/widgets")  # without .git
    assert clone.git("branch", "--show-current").stdout.strip() == "mux"


def test_an_empty_upstream_gets_its_first_commit(gates: Callable[..., Gate], tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "empty.git")
    upstream = Upstream(tmp_path / "empty.git", str(tmp_path / "empty.git"))
    gate = gates(config(upstream))
    clone = Clone(tmp_path / "clone", f"{gate.url}/widgets.git")
    git(clone.folder, "checkout", "-qB", "main")
    sha = commit(clone.folder)
    clone.push("origin", "main")
    approve(1)
    assert upstream.refs() == {"refs/heads/main": sha}


def test_shallow_and_partial_clones_work(gate: Gate, upstream: Upstream, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--depth", "1", f"{gate.url}/widgets.git", "shallow")
    git(tmp_path, "clone", "-q", "--filter=blob:none", f"{gate.url}/widgets.git", "partial")
    for name in ("shallow", "partial"):
        commit(tmp_path / name, f"by-{name}")
        git(tmp_path / name, "push", "-q", "origin", f"HEAD:{name}")
    assert len(gate.pending()) == 2
    assert [len(held.content["commits"]) for held in gate.pending()] == [1, 1]


def test_lfs_pointers_are_pushed_and_the_human_is_told_what_is_missing(gate: Gate, clone: Clone) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d' * 32}\nsize 12345\n"
    commit(clone.folder, "data.bin", pointer)
    assert "remote: 1 of its files are Git LFS pointers" in clone.push()
    (finding,) = gate.pending()[0].content["findings"]
    assert (finding["path"], finding["rule"][:15]) == ("data.bin", "Git LFS pointer")


def test_who_asks_for_lfs_objects_is_answered_in_its_own_format(gate: Gate) -> None:
    request = Request(f"{gate.url}/widgets.git/info/lfs/objects/batch", b"{}")
    with pytest.raises(HTTPError) as caught, urlopen(request, timeout=60):
        pass
    assert caught.value.code == 501
    assert "carries no LFS objects" in json.loads(caught.value.read())["message"]


def test_an_unknown_repository_is_named_with_those_there_are(gate: Gate, clone: Clone) -> None:
    done = clone.git("ls-remote", f"{gate.url}/gadgets.git")
    assert done.returncode != 0
    assert "remote: the git gate has no such repository or service; it has: widgets" in done.stderr
