"""What no push gets past: rules, sizes, secrets; and that nothing of it stays."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.integration.git_gate.conftest import SLUG, Clone, Gate, config
from tests.integration.git_gate.upstreams import Upstream, commit, git

OWN = "sk-gate/" + "5f0c3a9be1d274c86ab0f913" + "+=&"
KEY = "AKIA" + "2E0A8F3B244C9986"
PEM = "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.fixture
def gate(gates: Callable[..., Gate], upstream: Upstream) -> Gate:
    repo = config(upstream, protected=("release/*", "refs/tags/v*"), max_push=1 << 20)
    return gates(repo, secrets=(OWN,))


def kept(home: Path, sha: str) -> bool:
    """Whether the mirror has an object."""
    try:
        git(home / "git" / SLUG / "widgets.git", "cat-file", "-e", sha)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--force", "origin", "HEAD~1:main"), "rewrites history"),
        (("origin", ":main"), "deleting is not allowed"),
        (("origin", "HEAD:release/1.0"), "is protected ('release/*')"),
        (("origin", "HEAD:Release/1.0"), "is protected ('release/*')"),
        (("origin", "HEAD:refs/tags/v1"), "is protected ('refs/tags/v*')"),
        (("origin", "HEAD:refs/held/1/heads/main"), "only branches"),
        (("origin", "HEAD:refs/for/main"), "only branches"),
        (("origin", "HEAD:refs/replace/" + "1" * 40), "only branches"),
        (("origin", "HEAD:refs/tags/denied/1"), "only branches"),
        (("--force", "origin", "HEAD:refs/tags/there"), "rewrites history"),
    ],
)
def test_rules_for_refs(clone: Clone, upstream: Upstream, arguments: tuple[str, ...], why: str) -> None:
    git(upstream.path, "tag", "there", "main~1")
    commit(clone.folder)
    git(clone.folder, "commit", "-q", "--amend", "-m", "other")
    git(clone.folder, "reset", "-q", "--soft", "HEAD~1") if "HEAD~1:main" in arguments else None
    before = upstream.refs()
    assert why in clone.refused(*arguments)
    assert upstream.refs() == before


def test_one_bad_ref_refuses_the_whole_push(gate: Gate, clone: Clone, home: Path) -> None:
    sha = commit(clone.folder)
    clone.refused("origin", "HEAD:fine", "HEAD:release/2")
    assert gate.pending() == []
    assert not kept(home, sha)


def test_a_branch_is_of_commits_only(gate: Gate, clone: Clone) -> None:
    blob = git(clone.folder, "hash-object", "-w", "file")
    git(clone.folder, "tag", "blob", blob)
    assert "is no commit" in clone.refused("origin", "blob")


@pytest.mark.parametrize(
    "planted",
    [
        KEY,
        PEM,
        "token = 'ghp_" + "a1B2" * 9 + "'",
        "sk-ant-api03-" + "x9Y8" * 10,
        'password = "' + "Zq3vX8_kTr1pNw6uYb0s" + '"',
        OWN,
        base64.b64encode(OWN.encode()).decode(),
        base64.b64encode(b"user:" + OWN.encode()).decode(),
        base64.urlsafe_b64encode(OWN.encode()).decode(),
        quote(OWN, safe=""),
        OWN.encode().hex(),
        json.dumps({"key": OWN}).replace("/", "\\/"),
        "\n".join(OWN),
    ],
    ids=[
        "aws",
        "private-key",
        "github",
        "anthropic",
        "keyword",
        "own",
        "base64",
        "basic",
        "urlsafe",
        "percent",
        "hex",
        "json",
        "broken-lines",
    ],
)
def test_a_secret_in_a_file(gate: Gate, clone: Clone, home: Path, planted: str) -> None:
    sha = commit(clone.folder, "conf/settings.py", f"# settings\n{planted}\n")
    said = clone.refused()
    assert "secret in conf/settings.py" in said
    assert sha[:10] in said
    assert OWN not in said
    assert gate.pending() == []
    assert not kept(home, sha)


def test_a_secret_in_a_commit_in_between(gate: Gate, clone: Clone, home: Path) -> None:
    first = commit(clone.folder, "oops", KEY)
    git(clone.folder, "rm", "-q", "oops")
    git(clone.folder, "commit", "-qm", "gone again")
    said = clone.refused()
    assert f"secret in oops:1 in commit {first[:10]}: AWS Access Key" in said
    assert not kept(home, first)


def test_a_secret_in_the_name_of_a_file_a_folder_or_a_branch(gate: Gate, clone: Clone) -> None:
    commit(clone.folder, f"{KEY}.txt", "nothing")
    assert "the file's name" in clone.refused()
    git(clone.folder, "reset", "-q", "--hard", "origin/main")
    commit(clone.folder, f"{KEY}/nothing", "nothing")
    assert "the file's name" in clone.refused()
    git(clone.folder, "reset", "-q", "--hard", "origin/main")
    commit(clone.folder)
    assert "the name of refs/heads/" in clone.refused("origin", f"HEAD:{KEY}")


def test_a_secret_in_a_message_an_author_or_a_tag(gate: Gate, clone: Clone) -> None:
    git(clone.folder, "commit", "-q", "--allow-empty", "-m", f"use {KEY}")
    assert "commit " in clone.refused()
    git(clone.folder, "commit", "-q", "--amend", "--allow-empty", "-m", "x", "--author", f"{KEY} <a@b>")
    assert "AWS Access Key" in clone.refused()
    git(clone.folder, "reset", "-q", "--hard", "origin/main")
    git(clone.folder, "tag", "-a", "-m", f"is {KEY}", "x1")
    assert "tag " in clone.refused("origin", "x1")


def test_a_secret_in_what_is_no_utf8_text(gate: Gate, clone: Clone) -> None:
    for number, data in enumerate((b"\0\xff" * 1000 + KEY.encode(), KEY.encode("utf-16"), OWN.encode("utf-16-le"))):
        git(clone.folder, "reset", "-q", "--hard", "origin/main")
        (clone.folder / f"data{number}").write_bytes(data)
        git(clone.folder, "add", ".")
        git(clone.folder, "commit", "-qm", "data")
        assert f"secret in data{number}" in clone.refused()


def test_a_secret_in_a_merge_that_no_parent_has(gate: Gate, clone: Clone) -> None:
    git(clone.folder, "checkout", "-q", "-b", "side", "HEAD~1")
    commit(clone.folder, "side")
    git(clone.folder, "checkout", "-q", "main")
    git(clone.folder, "merge", "-q", "--no-commit", "--no-ff", "side")
    commit(clone.folder, "evil", KEY)
    assert "secret in evil" in clone.refused()


def test_an_allow_list_comment_of_the_agent_allows_nothing(gate: Gate, clone: Clone) -> None:
    commit(clone.folder, "a.py", f"key = '{KEY}'  # pragma: allowlist secret\n")
    assert "secret in a.py:1" in clone.refused()


def test_what_upstream_has_already_is_not_held_against_a_change_beside_it(
    upstream: Upstream, gate: Gate, tmp_path: Path
) -> None:
    git(tmp_path, "clone", "-q", str(upstream.path), "theirs")
    commit(tmp_path / "theirs", "docs.md", f"an example: {KEY}\n")
    git(tmp_path / "theirs", "push", "-q", "origin", "HEAD:main")
    clone = Clone(tmp_path / "mine", f"{gate.url}/widgets.git")
    commit(clone.folder, "docs.md", f"an example: {KEY}\nand a line\n")
    clone.push()


def test_what_may_be_a_secret_is_noted_for_the_human(gate: Gate, clone: Clone) -> None:
    commit(clone.folder, "a.py", 'password = "correct horse"\nurl = "https://me:hunter2@example.org"\n')
    clone.push()
    findings = gate.pending()[0].content["findings"]
    assert {(f["path"], f["line"], f["rule"]) for f in findings} == {
        ("a.py", 1, "Secret Keyword"),
        ("a.py", 2, "Basic Auth Credentials"),
    }


def test_what_only_a_commit_in_between_has_of_a_file_is_noted(gate: Gate, clone: Clone) -> None:
    commit(clone.folder, "a.txt", "all that the agent was shown\n")
    commit(clone.folder, "a.txt", "harmless\n")
    clone.push()
    (content,) = [proposal.content for proposal in gate.pending()]
    assert "was shown" not in content["diff"]
    assert [f["rule"] for f in content["findings"]] == [
        "one version of a file is in commits in between only: the diff does not show this"
    ]
    commit(clone.folder, "b.txt", "more\n")
    git(clone.folder, "reset", "-q", "--soft", "origin/main")
    git(clone.folder, "commit", "-qm", "as one")
    clone.push()
    assert gate.pending()[0].content["findings"] == []


def test_a_huge_pack_is_refused_in_words(gate: Gate, clone: Clone, upstream: Upstream) -> None:
    (clone.folder / "huge").write_bytes(random.randbytes(3 << 20))
    git(clone.folder, "add", ".")
    git(clone.folder, "commit", "-qm", "huge")
    done = clone.git("push")
    assert done.returncode == 1
    assert "pack exceeds maximum allowed size" in done.stderr, done.stderr
    assert gate.pending() == []
    commit(clone.folder)
    git(clone.folder, "reset", "-q", "--hard", "origin/main")
    commit(clone.folder)
    clone.push()


def test_what_is_small_packed_and_huge_unpacked_is_refused(gate: Gate, clone: Clone) -> None:
    (clone.folder / "bomb").write_bytes(bytes(30 << 20))
    git(clone.folder, "add", ".")
    git(clone.folder, "commit", "-qm", "bomb")
    assert "unpacked" in clone.refused()


def test_a_flood_is_refused_and_what_waits_stays(gate: Gate, clone: Clone) -> None:
    for number in range(15):
        gate.broker.queue.propose("question", {"question": f"{number}?"})
    commit(clone.folder)
    clone.push("origin", "HEAD:first")
    done = clone.git("push", "origin", "HEAD:second")
    assert done.returncode == 1
    assert "not held" in done.stderr
    assert "wait for the human already" in done.stderr
    assert len(gate.pending()) == 16


def test_names_that_do_not_go_together_are_not_held(gate: Gate, clone: Clone) -> None:
    commit(clone.folder)
    done = clone.git("push", "origin", "HEAD:a", "HEAD:a/b")
    assert done.returncode == 1
    assert "cannot be a folder of another" in done.stderr
    assert gate.pending() == []
