"""A tar stream from a bottle is hostile: whatever it holds, nothing outside the target changes."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bb_jupyter.backend.shared import archive
from bb_jupyter.backend.shared.archive import CopyReport, unpack
from bb_jupyter.errors import UsageError

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.size = kind, link, mode, len(content)
    return info, content


def link(name: str, target: str) -> Member:
    return member(name, kind=tarfile.SYMTYPE, link=target)


def hard(name: str, target: str) -> Member:
    return member(name, kind=tarfile.LNKTYPE, link=target)


def folder(name: str) -> Member:
    return member(name, kind=tarfile.DIRTYPE, mode=0o755)


def raw(*members: Member) -> bytes:
    """Pack members as they are: the library's own `addfile` changes no name."""
    packed = b""
    for info, content in members:
        header = info.tobuf(tarfile.PAX_FORMAT, errors="surrogateescape")
        packed += header + content + bytes(-len(content) % 512)
    return packed + bytes(1024)


def with_size(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return a header that claims *size*, which may be negative (base-256 encoding of GNU tar)."""
    header = bytearray(member(name, kind=kind)[0].tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"\xff" + size.to_bytes(11, "big", signed=True) if size < 0 else b"%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.fixture
def outer(tmp_path: Path) -> Path:
    """Return a folder with a secret; targets are inside it."""
    (tmp_path / "secret").write_text("host")
    (tmp_path / "target").mkdir()
    return tmp_path


def bring(outer: Path, *members: Member, **options: int) -> CopyReport:
    return unpack(io.BytesIO(raw(*members)), outer / "target", **options)


def outside(outer: Path) -> dict[str, tuple[int, bytes]]:
    """Return what is outside the target: path → mode and content."""
    found = {}
    for path in sorted(outer.rglob("*")):
        if (outer / "target") not in (path, *path.parents):
            status = path.lstat()
            found[str(path)] = (status.st_mode, path.read_bytes() if stat.S_ISREG(status.st_mode) else b"")
    return found


def reasons(report: CopyReport) -> dict[str, str]:
    return dict(report.refused)


def test_a_tree(outer: Path) -> None:
    report = bring(outer, folder("top"), member("top/a", b"one"), member("top/sub/run", b"#!", mode=0o4755))
    target = outer / "target" / "top"
    assert (target / "a").read_bytes() == b"one"
    assert stat.S_IMODE((target / "sub/run").stat().st_mode) == 0o755  # executable, never set-user-id
    assert (report.files, report.size, report.refused) == (3, 5, [])


def test_a_missing_target_is_the_new_name(outer: Path) -> None:
    unpack(io.BytesIO(raw(folder("top"), member("top/a", b"one"))), outer / "new")
    assert (outer / "new/a").read_bytes() == b"one"
    unpack(io.BytesIO(raw(member("b", b"two"))), outer / "file")
    assert (outer / "file").read_bytes() == b"two"


def test_an_existing_file_is_replaced(outer: Path) -> None:
    (outer / "target/a").write_text("old")
    os.link(outer / "target/a", outer / "other-name")
    bring(outer, member("a", b"new"))
    assert (outer / "target/a").read_bytes() == b"new"
    assert (outer / "other-name").read_text() == "old"  # the file of the host has not been written to


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../out", "top/../../out", "..", "top/..", "//x", "./../x", "a/b/../../../x"]
)
def test_names_that_leave(outer: Path, name: str) -> None:
    before = outside(outer)
    for made in (member(name, b"x"), link(name, "x"), folder(name), hard(name, "a")):
        report = bring(outer, member("a", b"1"), made)
        assert name in reasons(report)
    assert outside(outer) == before


def test_a_name_with_nul(outer: Path) -> None:
    info, content = member("x", b"x")
    info.pax_headers = {"path": "a\0b"}
    assert bring(outer, (info, content)).files == 0


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"])
def test_devices_and_unknown_kinds(outer: Path, kind: bytes) -> None:
    report = bring(outer, member("dev", kind=kind))
    assert [name for name, _ in report.refused] == ["dev"]
    assert not os.path.lexists(outer / "target/dev")


@pytest.mark.parametrize("target", ["/etc/passwd", "../../secret", "../secret", "/"])
def test_links_out(outer: Path, target: str) -> None:
    report = bring(outer, folder("top"), link("top/out", target))
    assert "top/out" in reasons(report)
    assert not os.path.lexists(outer / "target/top/out")


def test_links_inside_stay(outer: Path) -> None:
    report = bring(outer, member("top/a", b"1"), link("top/here", "a"), link("top/sub/up", "../a"))
    assert report.refused == []
    assert (outer / "target/top/sub/up").read_bytes() == b"1"


def test_a_link_to_what_the_host_has_beside_it(outer: Path) -> None:
    (outer / "target/mine").write_text("host")
    report = bring(outer, folder("top"), link("top/out", "../mine"))
    assert "top/out" in reasons(report)


def test_a_chain_of_links_out(outer: Path) -> None:
    """Each is harmless alone (CVE-2025-4517 and the like)."""
    members = [folder("top"), link("top/a", "b"), link("top/b", "c/.."), link("top/c", "d"), link("top/d", "../..")]
    bring(outer, *members)
    for path in (outer / "target/top").iterdir():
        assert Path(os.path.realpath(path)).is_relative_to(outer / "target/top")


def test_nothing_is_written_through_a_link(outer: Path) -> None:
    before = outside(outer)
    report = bring(outer, folder("top"), link("top/out", "../.."), member("top/out/secret", b"evil"))
    assert outside(outer) == before
    assert (outer / "target/top/out/secret").read_bytes() == b"evil" or report.refused


def test_nothing_is_written_through_a_link_of_the_host(outer: Path) -> None:
    (outer / "target/top").symlink_to(outer)
    before = outside(outer)
    report = bring(outer, folder("top"), member("top/secret", b"evil"), link("top/x", "secret"))
    assert outside(outer) == before
    assert len(report.refused) == 3


def test_a_hard_link_is_a_copy(outer: Path) -> None:
    report = bring(outer, member("top/a", b"1", mode=0o755), hard("top/b", "top/a"))
    one, other = (outer / "target/top/a").stat(), (outer / "target/top/b").stat()
    assert one.st_ino != other.st_ino and other.st_mode & 0o100
    assert report.size == 2


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "top/../a", "top/later", "..", "", "top"])
def test_hard_links_out(outer: Path, target: str) -> None:
    (outer / "target/a").write_text("host")
    report = bring(outer, folder("top"), hard("top/x", target))
    assert "top/x" in reasons(report)
    assert not os.path.lexists(outer / "target/top/x")


def test_a_hard_link_to_a_file_of_the_host_in_the_target(outer: Path) -> None:
    (outer / "target/top").mkdir()
    (outer / "target/top/mine").write_text("host")
    report = bring(outer, hard("top/x", "top/mine"))
    assert reasons(report) == {"top/x": "hard link out of the copy"}


def test_hard_links_count(outer: Path) -> None:
    with pytest.raises(UsageError, match="larger than"):
        bring(outer, member("a", b"1" * 600), hard("b", "a"), max_bytes=1000)


def test_a_file_in_the_place_of_a_folder(outer: Path) -> None:
    report = bring(outer, member("a", b"1"), member("a/b", b"2"), folder("a"), member("c", b"3"))
    assert set(reasons(report)) == {"a/b", "a"}
    assert (outer / "target/c").read_bytes() == b"3"


def test_too_many_bytes(outer: Path) -> None:
    with pytest.raises(UsageError, match="larger than"):
        bring(outer, member("a", b"1" * 100), member("b", b"1"), max_bytes=100)


def test_a_size_that_is_not_there(outer: Path) -> None:
    with pytest.raises(UsageError, match="larger than"):
        unpack(io.BytesIO(with_size("a", 1 << 32) + bytes(1024)), outer / "target", max_bytes=1 << 20)
    with pytest.raises(UsageError, match="malformed"):
        unpack(io.BytesIO(with_size("a", 1 << 20) + bytes(1024)), outer / "target")


@pytest.mark.parametrize("size", [-1, -511, -512, -(1 << 40)])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_negative_sizes(outer: Path, size: int, kind: bytes) -> None:
    stream = with_size("a", size, kind) + raw(member("b", b"1" * 200))
    with pytest.raises(UsageError, match="malformed"):
        unpack(io.BytesIO(stream), outer / "target", max_bytes=100)


def test_too_many_members(outer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    with pytest.raises(UsageError, match="too many"):
        bring(outer, *(member(f"f{number}") for number in range(4)))


def test_names_fill_no_memory(outer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_MAX_NAMES", 10_000)
    with pytest.raises(UsageError, match="names are too long"):
        bring(outer, *(member("../" + "n" * 900) for _ in range(20)))


def test_over_long_names(outer: Path) -> None:
    report = bring(outer, member("n" * 300, b"x"), member("/".join(["d"] * 3000), b"x"), link("l", "t" * 5000))
    assert len(report.refused) == 3 or report.files <= 1  # a path of 3,000 short names can be made step by step
    assert not os.path.lexists(outer / "target" / ("n" * 255))
    subprocess.run(["rm", "-rf", outer / "target"], check=True)  # pytest's own clean-up would recurse too deep


def test_a_long_header(outer: Path) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
        with pytest.raises(UsageError, match="malformed"):
            unpack(io.BytesIO(with_size("x", 1 << 30, kind) + bytes(1 << 16)), outer / "target")


def _records(**values: str) -> bytes:
    records = b""
    for key, value in values.items():
        rest = f" {key}={value}\n".encode()
        length = len(rest)
        while len(str(length)) + len(rest) != length:
            length = len(str(length)) + len(rest)
        records += str(length).encode() + rest
    return records


def _header(kind: bytes, content: bytes) -> bytes:
    return with_size("h", len(content), kind) + content + bytes(-len(content) % 512)


def _endless(one: bytes) -> io.RawIOBase:
    """Return a stream that never ends; the test fails when too much of it is read."""

    class Endless(io.RawIOBase):
        left = 64 << 20

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            assert self.left > 0, "the stream is read without an end"
            size = min(len(buffer), len(one))
            buffer[:size] = one[:size]
            self.left -= size
            return size

    return Endless()


def test_global_headers_fill_no_memory(outer: Path) -> None:
    number = iter(range(1 << 30))

    def stream() -> Iterator[bytes]:
        while True:
            yield _header(tarfile.XGLTYPE, _records(**{f"k{next(number)}": "v" * 60_000})) + raw(folder("a"))[:512]

    pieces = stream()

    class Stream(io.RawIOBase):
        pending = b""

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            self.pending = self.pending or next(pieces)
            size = min(len(buffer), len(self.pending))
            buffer[:size], self.pending = self.pending[:size], self.pending[size:]
            return size

    with pytest.raises(UsageError, match="global headers"):
        unpack(io.BufferedReader(Stream()), outer / "target")
    assert next(number) < 100


def test_headers_before_headers(outer: Path) -> None:
    """tarfile reads them by recursion."""
    headers = _header(tarfile.XHDTYPE, _records(path="a")) * 3000
    with pytest.raises(UsageError, match="malformed"):
        unpack(io.BytesIO(headers + raw(member("a"))), outer / "target")


def test_sparse_files(outer: Path) -> None:
    old = io.BytesIO(with_size("s", 512, tarfile.GNUTYPE_SPARSE) + bytes(2048))
    with pytest.raises(UsageError, match="sparse"):
        unpack(old, outer / "target")
    headers = _records(**{"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"})
    new = _header(tarfile.XHDTYPE, headers) + with_size("s", 1 << 40)
    with pytest.raises(UsageError, match="sparse"):
        unpack(io.BytesIO(new + b"999999999\n" + b"0\n" * 5000), outer / "target")


def test_no_archive(outer: Path) -> None:
    for stream in (b"", b"x" * 100, b"x" * 10_000, bytes(10)):
        with pytest.raises(UsageError, match="malformed"):
            unpack(io.BytesIO(stream), outer / "target")
    with pytest.raises(UsageError):
        unpack(io.BufferedReader(_endless(b"x" * 512)), outer / "target")


def test_no_folder(outer: Path) -> None:
    with pytest.raises(UsageError, match="not a directory"):
        unpack(io.BytesIO(raw(member("a"))), outer / "missing/deep")


_PART = st.sampled_from(["a", "b", "top", "..", ".", "", "link", "sub", "~", "é", "\udc80", "-x", "a b", "n" * 256])
_NAME = st.lists(_PART, min_size=1, max_size=5).map("/".join)
_KIND = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE]
)
_MEMBER = st.builds(member, _NAME, st.binary(max_size=20), _KIND, _NAME, st.integers(0, 0o7777))


def _check_inside(root: Path, names: set[str]) -> None:
    """Check what an unpacking may have made below *root*: plain files, folders, and links that stay in their copy."""
    for path in root.rglob("*"):
        mode = path.lstat().st_mode
        assert stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
        top = root / path.relative_to(root).parts[0]
        if stat.S_ISLNK(mode) and top.name not in names:
            assert Path(os.path.realpath(path)).is_relative_to(top)
        elif not stat.S_ISLNK(mode):
            assert not mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX | 0o022)


@settings(deadline=None, max_examples=100)
@given(st.lists(_MEMBER, max_size=12))
def test_whatever_it_holds(members: list[Member]) -> None:
    with tempfile.TemporaryDirectory() as name:
        outer = Path(name).resolve()
        (outer / "secret").write_text("host")
        (outer / "target").mkdir()
        (outer / "target/link").symlink_to(outer)  # the user's own
        before = outside(outer)
        for info, _ in members:
            if info.type not in (tarfile.REGTYPE, tarfile.CONTTYPE):
                info.size = 0
        try:
            report = bring(outer, *((info, content[: info.size]) for info, content in members))
        except UsageError:
            report = CopyReport()
        assert outside(outer) == before
        assert (outer / "secret").read_text() == "host"
        _check_inside(outer / "target", {"link"})
        assert report.files + len(report.refused) <= len(members) * 2


@settings(deadline=None, max_examples=100)
@given(st.lists(_MEMBER, min_size=1, max_size=4), st.data())
def test_whatever_is_broken_in_it(members: list[Member], data: st.DataObject) -> None:
    for info, content in members:
        info.size = len(content)
    stream = bytearray(raw(*members))
    for _ in range(data.draw(st.integers(1, 6))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    for start in range(0, len(stream) - 511, 512):  # what has a name gets its checksum again
        block = stream[start : start + 512]
        if data.draw(st.booleans()) and block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            stream[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    with tempfile.TemporaryDirectory() as name:
        outer = Path(name).resolve()
        (outer / "secret").write_text("host")
        (outer / "target").mkdir()
        before = outside(outer)
        try:
            unpack(io.BytesIO(bytes(stream)), outer / "target", max_bytes=1 << 20)
        except UsageError as error:
            assert "cannot copy" in str(error)
        assert outside(outer) == before
        _check_inside(outer / "target", set())
