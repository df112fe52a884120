"""What goes into a bottle: ignore rules, credentials, special files, and how it is packed."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path, PurePosixPath

import pytest

from bb_jupyter.backend.shared.copying import CopyPlan, pack, plan_copy
from bb_jupyter.backend.spec import Copy
from bb_jupyter.errors import UsageError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("one")
    (folder / "sub/b.txt").write_text("two")
    return folder


def look(source: Path, *, honour_rules: bool = True) -> CopyPlan:
    return plan_copy(Copy(source, PurePosixPath("target")), honour_rules=honour_rules)


def packed(plan: CopyPlan, name: str = ".") -> dict[str, tarfile.TarInfo]:
    file = io.BytesIO()
    pack(plan, file, name=name, uid=7, gid=8)
    file.seek(0)
    with tarfile.open(fileobj=file) as archive:
        return {member.name: member for member in archive}


def test_a_folder(source: Path) -> None:
    plan = look(source)
    assert plan.members == ("a.txt", "sub", "sub/b.txt")
    assert plan.size == 6
    assert "3 entries" in str(plan)


def test_a_file(source: Path) -> None:
    plan = look(source / "a.txt")
    assert (plan.members, plan.size) == ((), 3)
    assert list(packed(plan, "a.txt")) == ["a.txt"]


@pytest.mark.parametrize(
    "name",
    [".env", ".env.local", "sub/.netrc", "id_ed25519", "sub/server.pem", ".ssh/config", ".aws/credentials", ".npmrc"],
)
def test_credentials_stay_out(source: Path, name: str) -> None:
    (source / name).parent.mkdir(exist_ok=True)
    (source / name).write_text("secret")
    plan = look(source)
    assert name not in plan.members
    assert plan.sensitive and "left out as sensitive" in str(plan)
    assert name not in look(source, honour_rules=False).members
    assert name in plan_copy(Copy(source, PurePosixPath("t"), take=(name,))).members


def test_a_credential_that_is_named_goes_in(source: Path) -> None:
    (source / ".env").write_text("secret")
    (source / ".bottleignore").write_text("!.env\n")
    (source / ".gitignore").write_text("!*\n")
    assert ".env" not in look(source).members
    assert look(source / ".env").size == 6


def test_ignore_rules_hold_below_their_folder(source: Path) -> None:
    (source / "sub/.gitignore").write_text("*.txt\n!keep.txt\n")
    (source / "sub/keep.txt").write_text("x")
    plan = look(source)
    assert "a.txt" in plan.members and "sub/keep.txt" in plan.members and "sub/b.txt" not in plan.members
    assert plan.ignored == 1


def test_ignore_rules_behind_a_link_are_not_read(source: Path, tmp_path: Path) -> None:
    (tmp_path / "rules").write_text("*\n")
    (source / ".gitignore").symlink_to(tmp_path / "rules")
    assert "a.txt" in look(source).members


@pytest.mark.parametrize("target", ["/etc/passwd", "../out", "sub/../../out", ".."])
def test_links_out_stay_out(source: Path, target: str) -> None:
    (source / "link").symlink_to(target)
    plan = look(source)
    assert plan.special == ("link",) and "link" not in packed(plan)


def test_links_inside_are_links(source: Path) -> None:
    (source / "sub/link").symlink_to("../a.txt")
    member = packed(look(source))["./sub/link"]
    assert member.issym() and member.linkname == "../a.txt"


def test_special_files(source: Path) -> None:
    os.mkfifo(source / "fifo")
    assert look(source).special == ("fifo",)
    with pytest.raises(UsageError, match="neither a file nor a directory"):
        look(source / "fifo")


def test_modes_and_owners(source: Path) -> None:
    (source / "a.txt").chmod(0o4777)
    (source / "sub").chmod(0o700)
    members = packed(look(source))
    assert oct(members["./a.txt"].mode) == "0o755" and oct(members["./sub"].mode) == "0o700"
    assert {(member.uid, member.gid, member.uname) for member in members.values()} == {(7, 8, "")}


def test_what_became_a_link_meanwhile(source: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    plan = look(source)
    (source / "a.txt").unlink()
    (source / "a.txt").symlink_to(tmp_path / "secret")
    assert not packed(plan)["./a.txt"].isreg()


def test_what_is_missing(source: Path) -> None:
    with pytest.raises(UsageError, match="cannot copy"):
        look(source / "missing")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a/.git/config", '[remote "o"]\n\turl = https://u:pw@example.test/x\n'),
        ("a/.docker/config.json", "{}"),
        ("home/.kube/config", "x"),
        ("d/.bot-bottle/secrets/token", "x"),
        ("d/.claude/.credentials.json", "{}"),
        ("x/notes.txt", "ghp_" + "a1B2" * 9),
        ("x/sa.json", '{"private_key": "-----BEGIN PRIVATE KEY-----\\n' + "MIIE" * 16 + '"}'),
    ],
)
def test_credentials_at_any_depth_and_by_content(source: Path, name: str, content: str) -> None:
    (source / name).parent.mkdir(parents=True)
    (source / name).write_text(content)
    assert look(source).sensitive == look(source, honour_rules=False).sensitive == (name,)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".npmrc", "registry=https://registry.example.test/\n_authToken=${TOKEN}\n"),
        ("ca.pem", "-----BEGIN CERTIFICATE-----\nMIIE\n"),
        ("s/.git/config", '[remote "o"]\n\turl = https://example.test/x\n'),
        (".env.example", "TOKEN=\n"),
        ("x.py", 'HEADER = "-----BEGIN RSA PRIVATE KEY-----"\n'),
    ],
)
def test_no_false_alarm(source: Path, name: str, content: str) -> None:
    (source / name).parent.mkdir(parents=True, exist_ok=True)
    (source / name).write_text(content)
    assert name in look(source).members


def test_a_folder_of_credentials_that_is_named(source: Path) -> None:
    (source / ".aws").mkdir()
    (source / ".aws/other").write_text("x")
    assert look(source / ".aws").sensitive == ("other",)


def test_slow_and_odd_rules_are_not_followed(source: Path) -> None:
    (source / ".gitignore").write_text("*a" * 30 + "b\n")
    (source / ("a" * 200)).write_text("x")
    (source / "sub/.gitignore").write_bytes(b"\0\xff")
    plan = look(source)
    assert len(plan.unread_rules) == 2 and "rules not followed" in str(plan)


def test_folders_that_are_nested_too_deep(source: Path) -> None:
    deep = source
    for _ in range(250):
        deep /= "d"
    deep.mkdir(parents=True)
    with pytest.raises(UsageError, match="nested"):
        look(source)


def test_a_link_that_is_named_keeps_its_own_name(source: Path) -> None:
    (source.parent / "link").symlink_to(source)
    assert Copy(source.parent / "link", PurePosixPath("t")).name == "link"
