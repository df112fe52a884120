"""P3: what comes out of a bottle does not program the host; work with commits comes home all the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.errors import UsageError
from tests.contract.conftest import out

_WHO = "git config user.email a@b.example && git config user.name A"


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def head_of(folder: Path) -> str:
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    git(tmp_path, "init", "--quiet", "--initial-branch=main", "project")
    (folder / "a.txt").write_text("one\n")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=A", "-c", "user.email=a@b.example", "commit", "--quiet", "-m", "first")
    return folder


def _work(bottle: BottleHandle, mark: Path) -> None:
    """Commit in the bottle, and plant whatever git of the host might run."""
    out(bottle, f"command -v git >/dev/null || exit 3; git init -q -b main project; cd project && {_WHO}")
    out(bottle, "cd project && echo two > a.txt && git add a.txt && git commit -qm second")
    planted = f"printf '#!/bin/sh\\ntouch {mark}\\n' > .git/hooks/post-commit; chmod +x .git/hooks/*"
    out(bottle, f"cd project && {planted}; git config core.fsmonitor 'touch {mark}; false'; : > conftest.py; : > x.pth")


def test_git_of_the_host_obeys_nothing_of_a_copied_repository(
    bottle: BottleHandle, project: Path, tmp_path: Path
) -> None:
    mark, before = tmp_path / "ran", (project / ".git/config").read_bytes()
    _work(bottle, mark)
    report = bottle.cp_out("project", tmp_path)
    assert (project / "a.txt").read_text() == "two\n" and report.overwritten == ["project/a.txt"]
    assert {name for name, _ in report.left_out} == {"project/.git", "project/conftest.py", "project/x.pth"}
    assert (project / ".git/config").read_bytes() == before and not (project / ".git/hooks/post-commit").exists()
    assert "project: its commits are at refs/bottles/" in report.history[0]
    place = f"refs/bottles/{bottle.name}/main"
    assert git(project, "log", "-1", "--format=%s", place) == "second" and git(project, "status", "--porcelain")
    assert git(project, "log", "-1", "--format=%s") == "first" and not mark.exists()


def test_a_new_repository_gets_the_branches(bottle: BottleHandle, tmp_path: Path) -> None:
    mark, target = tmp_path / "ran", tmp_path / "new"
    _work(bottle, mark)
    report = bottle.cp_out("project", target)
    assert "on branch main" in report.history[0], report.history
    assert git(target, "log", "--format=%s") == "second" and not git(target, "status", "--porcelain")
    assert "fsmonitor" not in (target / ".git/config").read_text() and not mark.exists()


def test_what_a_person_asks_for_is_taken(bottle: BottleHandle, tmp_path: Path) -> None:
    _work(bottle, tmp_path / "ran")
    report = bottle.cp_out("project", tmp_path / "all", take=["conftest.py", ".git"])
    assert (tmp_path / "all/conftest.py").exists() and (tmp_path / "all/.git/hooks/post-commit").exists()
    assert report.left_out == [("all/x.pth", "Python")] and report.history == []


@pytest.mark.parametrize("name", [".git/hooks/post-commit", ".GIT/config", "sub/.git/config", "git~1/config", ".git"])
def test_other_spellings_and_depths(bottle: BottleHandle, tmp_path: Path, name: str) -> None:
    out(bottle, f"mkdir -p t/$(dirname {name}); echo x > t/{name}")
    report = bottle.cp_out("t", tmp_path / "t")
    assert report.left_out and not [path for path in (tmp_path / "t").rglob("*") if path.is_file()]


def test_a_bare_repository_is_one_too(bottle: BottleHandle, tmp_path: Path) -> None:
    out(bottle, "mkdir -p t/b/objects t/b/refs; cd t; echo 'ref: refs/heads/main' > b/HEAD; : > b/config; : > ok")
    report = bottle.cp_out("t", tmp_path / "t")
    assert {name for name, _ in report.left_out} == {"t/b/HEAD", "t/b/config"} and (tmp_path / "t/ok").exists()


def test_attributes_with_a_driver_stay_out_and_others_come(bottle: BottleHandle, tmp_path: Path) -> None:
    out(bottle, "mkdir -p t/u; echo '*.png binary' > t/.gitattributes; echo '* filter=x' > t/u/.gitattributes")
    report = bottle.cp_out("t", tmp_path / "t")
    assert report.left_out == [("t/u/.gitattributes", "git")] and (tmp_path / "t/.gitattributes").exists()


def test_into_a_repositorys_own_folder_nothing_comes_unasked(
    bottle: BottleHandle, project: Path, tmp_path: Path
) -> None:
    out(bottle, "echo x > hook")
    report = bottle.cp_out("hook", project / ".git/hooks/post-commit")
    assert report.files == 0 and report.left_out == [("post-commit", "git")]


def test_dot_files_of_a_home_stay_out(bottle: BottleHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    out(
        bottle,
        "mkdir -p .config/autostart bin; echo x > .bashrc2; echo x > .config/autostart/y; echo x > bin/ls; : > z",
    )
    for name in (".bashrc2", ".config", "bin", "z"):
        bottle.cp_out(name, tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["z"]


def test_what_the_host_has_alike_is_no_news(bottle: BottleHandle, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t/conftest.py").write_text("x\n")
    out(bottle, "mkdir t; echo x > t/conftest.py; echo all: > t/Makefile")
    report = bottle.cp_out("t", tmp_path)
    assert (report.left_out, report.overwritten, report.named) == ([], [], ["t/Makefile"])


def test_a_copy_is_whole_or_an_error(bottle: BottleHandle, tmp_path: Path) -> None:
    """A folder that cannot be read, or a sender that is killed, leaves the target as it was."""
    if bottle.plan.spec.backend in ("docker", "podman"):
        pytest.skip("the engine reads what the bottle's user cannot")
    (tmp_path / "t").mkdir()
    out(bottle, "mkdir -p t/m; echo new > t/a; chmod 000 t/m")
    with pytest.raises(UsageError, match="t"):
        bottle.cp_out("t", tmp_path)
    assert [*(tmp_path / "t").iterdir()] == [] and [path.name for path in tmp_path.iterdir()] == ["t"]
    out(bottle, "chmod 700 t/m")


def test_the_target_is_unchanged_when_a_person_says_no(bottle: BottleHandle, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t/a").write_text("old")
    out(bottle, "mkdir t; echo new > t/a")

    def no(report: object) -> None:
        raise UsageError("no")

    with pytest.raises(UsageError, match="no"):
        bottle.cp_out("t", tmp_path, before=no)
    assert (tmp_path / "t/a").read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["t"]
