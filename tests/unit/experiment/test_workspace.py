"""Workspaces: packed by content, without credentials; a diff of what a hostile bottle says it changed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bb_jupyter.errors import UsageError
from bb_jupyter.experiment import workspace
from bb_jupyter.experiment.definition import Workspace


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "inputs"
    folder.mkdir()
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("one\n")
    (folder / "sub" / "b.txt").write_text("two\n")
    return folder


def test_the_same_content_has_the_same_name(tree: Path, inputs: Path) -> None:
    first = workspace.pack_workspace(Workspace(directory=str(tree)), inputs)
    os.utime(tree / "a.txt", (1, 1))
    assert workspace.pack_workspace(Workspace(directory=str(tree)), inputs) == first
    (tree / "a.txt").write_text("another\n")
    assert workspace.pack_workspace(Workspace(directory=str(tree)), inputs).digest != first.digest
    assert len([*inputs.iterdir()]) == 2


def test_it_comes_back_as_it_was(tree: Path, inputs: Path, tmp_path: Path) -> None:
    (tree / "run.sh").write_text("#!/bin/sh\n")
    (tree / "run.sh").chmod(0o755)
    (tree / "link").symlink_to("a.txt")
    packed = workspace.pack_tree(tree, inputs)
    back = workspace.unpacked(inputs, packed.digest, tmp_path / "back")
    assert (back / "sub" / "b.txt").read_text() == "two\n"
    assert os.access(back / "run.sh", os.X_OK) and (back / "link").readlink() == Path("a.txt")


def test_credentials_stay_out_and_are_told(tree: Path, inputs: Path, tmp_path: Path) -> None:
    (tree / ".env").write_text("TOKEN=1")
    packed = workspace.pack_workspace(Workspace(directory=str(tree)), inputs)
    assert packed.left_out == (".env",)
    assert not (workspace.unpacked(inputs, packed.digest, tmp_path / "back") / ".env").exists()


def test_an_input_that_was_changed_is_refused(tree: Path, inputs: Path, tmp_path: Path) -> None:
    packed = workspace.pack_tree(tree, inputs)
    other = workspace.pack_tree(tree / "sub", inputs)
    (inputs / f"{other.digest}.tar").replace(inputs / f"{packed.digest}.tar")
    for digest in (packed.digest, other.digest):
        with pytest.raises(UsageError, match="gone or was changed"):
            workspace.unpacked(inputs, digest, tmp_path / digest)


def git(folder: Path, *arguments: str) -> str:
    names = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", "-C", folder, *names, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_files_of_a_commit(tree: Path, inputs: Path, tmp_path: Path) -> None:
    git(tree, "init", "-q", "-b", "main")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "one")
    old = git(tree, "rev-parse", "HEAD")
    (tree / "a.txt").write_text("new\n")
    git(tree, "commit", "-qam", "two")
    (tree / "a.txt").write_text("not committed\n")
    for number, (commit, text) in enumerate([(old, "one\n"), ("main", "new\n"), ("HEAD~1", "one\n")]):
        packed = workspace.pack_workspace(Workspace(git=str(tree), commit=commit), inputs)
        back = workspace.unpacked(inputs, packed.digest, tmp_path / str(number))
        assert (back / "a.txt").read_text() == text and not (back / ".git").exists()


def test_programs_that_a_repository_names_are_not_run(tree: Path, inputs: Path, tmp_path: Path) -> None:
    git(tree, "init", "-q")
    (tree / ".gitattributes").write_text("*.txt filter=evil\n")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "one")
    evil = f"touch {tmp_path / 'ran'}"
    for name in ("filter.evil.smudge", "filter.evil.clean", "core.fsmonitor", "tar.tar.command"):
        git(tree, "config", name, evil)
    (tree / ".git" / "hooks" / "post-checkout").write_text(f"#!/bin/sh\n{evil}\n")
    (tree / ".git" / "hooks" / "post-checkout").chmod(0o755)
    workspace.pack_workspace(Workspace(git=str(tree)), inputs)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"remote.origin.url": "ssh://host.invalid/x", "core.sshCommand": "{}"},
        {"remote.origin.url": "{0.tree}", "remote.origin.uploadpack": "{}"},
        {"remote.origin.url": "ext::{}", "protocol.ext.allow": "always"},
    ],
)
@pytest.mark.parametrize("lost", ["commit", "tree", "blob"])
def test_what_a_partial_clone_lacks_is_not_fetched_by_programs_that_it_names(
    tree: Path, inputs: Path, tmp_path: Path, settings: dict[str, str], lost: str
) -> None:
    git(tree, "init", "-q")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "one")
    objects = {"commit": "HEAD", "tree": "HEAD^{tree}", "blob": "HEAD:a.txt"}
    commit, gone = (git(tree, "rev-parse", name) for name in ("HEAD", objects[lost]))
    (tree / ".git" / "objects" / gone[:2] / gone[2:]).unlink()
    more = {"core.repositoryFormatVersion": "1", "extensions.partialClone": "origin", "remote.origin.promisor": "true"}
    evil = f"touch {tmp_path / 'ran'}"
    for name, value in {**more, **settings}.items():
        git(tree, "config", name, value.replace("{0.tree}", str(tree)).replace("{}", evil))
    with pytest.raises(UsageError):
        workspace.pack_workspace(Workspace(git=str(tree), commit=commit), inputs)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("commit", ["nothing", "--upload-pack=touch x", "-n"])
def test_no_commit(tree: Path, inputs: Path, commit: str) -> None:
    git(tree, "init", "-q")
    with pytest.raises(UsageError):
        workspace.pack_workspace(Workspace(git=str(tree), commit=commit), inputs)


@dataclass
class Here:
    """A "bottle" whose commands run in a folder of the test: the program that prints files is tried as it is."""

    top: Path
    returncode: int = 0
    stdout: bytes = b""
    stderr: bytes = b""

    def exec(self, argv: Sequence[str], **options: Any) -> Here:
        done = subprocess.run(["sh", *argv[1:4], str(self.top), *argv[5:]], capture_output=True, check=False)
        return Here(self.top, done.returncode, done.stdout, done.stderr)

    def wait(self) -> Here:
        return self


def shown(before: Path | None, after: Path, *names: str) -> str:
    return workspace.diff(Here(after), "/home/agent", before, names)  # type: ignore[arg-type]


def test_a_diff(tree: Path, tmp_path: Path) -> None:
    after = tmp_path / "after"
    after.mkdir()
    (after / "a.txt").write_text("one\nmore\n")
    (after / "new").write_text("no end")
    (after / "link").symlink_to("/etc/passwd")
    text = shown(tree, after, "a.txt", "new", "link", "sub/b.txt")
    assert "--- a/a.txt\n+++ b/a.txt\n" in text and "+more\n" in text
    assert "--- /dev/null\n+++ b/new\n" in text and "\\ No newline at end of file" in text
    assert "+link to /etc/passwd" in text and "root:" not in text
    assert "--- a/sub/b.txt\n+++ /dev/null\n" in text and "-two\n" in text


def test_names_from_a_bottle_lead_nowhere(tree: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("host file\n")
    (tree / "out").symlink_to(tmp_path)
    after = tmp_path / "bottle" / "work"  # of the bottle's own files, a name may name any
    after.mkdir(parents=True)
    names = ["../secret", str(secret), "out/secret", "a\0b", "", "x\ny", "--help"]
    assert "host file" not in shown(tree, after, *names)


def test_large_and_binary_files_are_named_only(tree: Path, tmp_path: Path) -> None:
    after = tmp_path / "after"
    after.mkdir()
    (after / "a.txt").write_bytes(b"\0binary")
    (after / "big").write_text("x" * (workspace.MAX_BYTES + 1))
    (after / "long").write_text("\n" * (workspace.MAX_LINES + 10))
    text = shown(tree, after, "a.txt", "big", "long")
    assert len(text) < 1000 and text.count("too large to show") == 2 and "too many to compare" in text
