"""Promises of copies: like `docker cp`, awkward names are literal, what is hostile is refused."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from bb_jupyter.backend.shared.archive import unpack
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.errors import UsageError
from tests.contract.conftest import Launch, out

AWKWARD = [
    "--checkpoint-action=x",
    "-rf",
    "new\nline",
    "quote'\"",
    "space and tab\t",
    "ünï",
    "*",
    "$HOME",
    "back\\slash",
    os.fsdecode(b"not\xffutf8"),
    "long" * 60,
]


def test_a_file_goes_in_and_comes_out(bottle: BottleHandle, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(range(256)))
    bottle.cp_in(tmp_path / "data", "copy")
    bottle.cp_out("copy", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == bytes(range(256))


def test_an_existing_folder_takes_the_source_under_its_name(bottle: BottleHandle, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    (tmp_path / "into").mkdir()
    out(bottle, "mkdir folder")
    bottle.cp_in(tmp_path / "data", "folder")
    assert out(bottle, "cat folder/data") == "x"
    bottle.cp_out("folder/data", tmp_path / "into")
    assert (tmp_path / "into/data").read_text() == "x"


def test_a_tree_keeps_its_shape(bottle: BottleHandle, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/b/deep").write_text("deep")
    (tree / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (tree / "run.sh").chmod(0o755)
    (tree / "link").symlink_to("a/b/deep")
    (tree / "empty").mkdir()
    bottle.cp_in(tree, "tree")
    assert out(bottle, "cat tree/link; tree/run.sh; ls -d tree/empty") == "deepran\ntree/empty\n"
    bottle.cp_out("tree", tmp_path / "back")
    assert (tmp_path / "back/link").read_text() == "deep"
    assert os.access(tmp_path / "back/run.sh", os.X_OK)
    assert (tmp_path / "back/empty").is_dir()


def test_what_is_copied_in_belongs_to_the_agent(bottle: BottleHandle, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("x")
    (tmp_path / "tree/file").chmod(0o400)
    bottle.cp_in(tmp_path / "tree", "tree")
    assert out(bottle, "stat -c %u:%g tree tree/file; echo more >> tree/file; touch tree/new") == "1000:1000\n" * 2


@pytest.mark.parametrize("name", AWKWARD)
def test_names_are_literal(bottle: BottleHandle, tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_text("content")
    bottle.cp_in(tmp_path / "in", "in")
    bottle.cp_out("in", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
    assert (tmp_path / "out" / name).read_text() == "content"


def test_a_source_that_is_missing_is_said(bottle: BottleHandle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="missing"):
        bottle.cp_in(tmp_path / "missing", "x")
    with pytest.raises(UsageError, match="missing"):
        bottle.cp_out("missing", tmp_path / "x")


def test_copies_of_the_launch_are_there(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "proj/.git").mkdir(parents=True)
    for name in ("main.py", ".env", "ignored.log", ".git/HEAD"):
        (tmp_path / "proj" / name).write_text(name)
    (tmp_path / "proj/.git/config").write_text('[remote "o"]\n\turl = https://me:word@example.test/x\n')
    (tmp_path / "proj/.gitignore").write_text("*.log\n")
    bottle = launch(copy=(f"{tmp_path}/proj", f"{tmp_path}/proj/.env:named"))
    assert out(bottle, "cd proj; find . -type f | sort") == "./.git/HEAD\n./.gitignore\n./main.py\n"
    assert out(bottle, "cat named") == ".env"
    assert "left out as sensitive: .env, .git/config" in bottle.plan.text()
    assert "1 ignored" in bottle.plan.text()


def test_special_files_of_the_host_stay_out(bottle: BottleHandle, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    os.mkfifo(tree / "fifo")
    (tree / "absolute").symlink_to("/etc/passwd")
    (tree / "upwards").symlink_to("../../secret")
    (tree / "plain").write_text("x")
    report = bottle.cp_in(tree, "tree")
    assert sorted(name for name, _ in report.refused) == ["absolute", "fifo", "upwards"]
    assert out(bottle, "ls tree") == "plain\n"


def test_links_and_special_files_of_the_bottle_stay_inside(bottle: BottleHandle, tmp_path: Path) -> None:
    out(
        bottle,
        "mkdir -p t/sub && cd t && ln -s /etc/passwd absolute && ln -s ../../../../etc up && ln -s sub dir"
        " && mkfifo fifo && echo x > plain && ln plain hard && cp /bin/true suid && chmod 4755 suid"
        " && ln -s plain good",
    )
    target = tmp_path / "target"
    report = bottle.cp_out("t", target)
    refused = {name.rpartition("/")[2] for name, _ in report.refused}
    assert {"absolute", "up", "fifo"} <= refused
    assert (target / "good").read_text() == (target / "hard").read_text() == "x\n"
    assert (target / "hard").stat().st_nlink == 1
    assert not (target / "suid").stat().st_mode & 0o6000
    for path in target.rglob("*"):
        assert path.resolve().is_relative_to(target)


def test_links_to_what_lies_beside_the_copy_are_refused(bottle: BottleHandle, tmp_path: Path) -> None:
    (tmp_path / "tree-secret").mkdir()
    (tmp_path / "tree-secret/key").write_text("secret")
    out(
        bottle,
        "mkdir tree && cd tree && echo x > plain && ln -s plain good && ln -s ../tree/plain also && ln -s .. up"
        " && ln -s ../tree-secret beside && ln -s ../tree-secret/key key && ln -s ../tree/../tree-secret/key round",
    )
    report = bottle.cp_out("tree", tmp_path)
    assert {name for name, _ in report.refused} == {f"tree/{name}" for name in ("up", "beside", "key", "round")}
    assert sorted(path.name for path in (tmp_path / "tree").iterdir()) == ["also", "good", "plain"]
    assert (tmp_path / "tree/also").read_text() == "x\n"


def test_what_was_copied_out_before_leads_no_later_copy_away(bottle: BottleHandle, tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "target/tree").symlink_to(tmp_path / "host")
    out(bottle, "mkdir -p tree/sub && echo x > tree/file && echo y > tree/sub/file")
    report = bottle.cp_out("tree", tmp_path / "target")
    assert report.refused and list((tmp_path / "host").iterdir()) == []


def test_a_link_in_the_middle_of_the_source_is_the_bottles_own_matter(bottle: BottleHandle, tmp_path: Path) -> None:
    out(bottle, "ln -s /etc way")
    bottle.cp_out("way/hostname" if (tmp_path / "x").exists() else "way/passwd", tmp_path / "passwd")
    assert "agent" in (tmp_path / "passwd").read_text() or "root" in (tmp_path / "passwd").read_text()
    assert (tmp_path / "passwd").read_text() != Path("/etc/passwd").read_text()


def test_a_planted_link_at_the_target_in_the_bottle_does_not_reach_the_host(
    bottle: BottleHandle, tmp_path: Path
) -> None:
    out(bottle, "ln -s /tmp/outside target")
    (tmp_path / "data").write_text("x")
    before = os.path.lexists("/tmp/outside")
    with_error = None
    try:
        bottle.cp_in(tmp_path / "data", "target")
    except UsageError as error:
        with_error = error
    assert os.path.lexists("/tmp/outside") == before
    assert with_error or out(bottle, "cat target /tmp/outside 2>/dev/null; :") != ""


def _archive(*members: tuple[str, bytes, dict[str, object]]) -> io.BytesIO:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content, fields in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content) if content else None)
    file.seek(0)
    return file


LINK = {"type": tarfile.SYMTYPE}


@pytest.mark.parametrize(
    "members",
    [
        [("../escape", b"x", {})],
        [("/tmp/escape-absolute", b"x", {})],
        [("top/../../escape", b"x", {})],
        [("top/l", b"", {**LINK, "linkname": "../.."}), ("top/l/escape", b"x", {})],
        [("top/l", b"", {**LINK, "linkname": "/"}), ("top/l/tmp/escape", b"x", {})],
        [("top/h", b"", {"type": tarfile.LNKTYPE, "linkname": "../secret"})],
        [("top/h", b"", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"})],
        [("top/dev", b"", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})],
        # a chain: each link looks harmless by its text
        [
            ("top/a/b", b"", {"type": tarfile.DIRTYPE}),
            ("top/a/b/up", b"", {**LINK, "linkname": "../.."}),
            ("top/out", b"", {**LINK, "linkname": "a/b/up/../.."}),
        ],
        [("top/" + "n" * 5000, b"x", {})],
    ],
)
def test_hostile_archives_touch_nothing_outside(
    tmp_path: Path, members: list[tuple[str, bytes, dict[str, object]]]
) -> None:
    (tmp_path / "secret").write_text("secret")
    target = tmp_path / "inside/target"
    target.mkdir(parents=True)
    report = unpack(_archive(*members), target)
    assert report.refused
    assert {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")} == {"secret", "inside"}
    assert sorted(path.name for path in (tmp_path / "inside").iterdir()) == ["target"]
    for path in target.rglob("*"):
        assert path.resolve().is_relative_to(target)
        assert path.is_dir() or path.stat().st_nlink == 1
    assert not Path("/tmp/escape-absolute").exists()


def test_an_archive_larger_than_its_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="larger"):
        unpack(_archive(("f", b"x" * 1000, {})), tmp_path / "f", max_bytes=999)


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    with pytest.raises(UsageError, match="header is too long"):
        unpack(io.BytesIO(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 10240), tmp_path / "x")


@pytest.mark.parametrize("junk", [b"", b"junk" * 1000, b"\0" * 5000])
def test_what_is_no_archive_is_an_error_or_nothing(tmp_path: Path, junk: bytes) -> None:
    with contextlib.suppress(UsageError):
        assert unpack(io.BytesIO(junk), tmp_path / "x").files == 0
    assert list(tmp_path.iterdir()) == []


def test_an_archive_from_tar_itself_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "in/sub").mkdir(parents=True)
    (tmp_path / "in/sub/file").write_text("x")
    packed = subprocess.run(["tar", "-cf", "-", "-C", str(tmp_path), "in"], stdout=subprocess.PIPE, check=True).stdout
    unpack(io.BytesIO(packed), tmp_path / "out")
    assert (tmp_path / "out/sub/file").read_text() == "x"
