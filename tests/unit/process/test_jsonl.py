"""JSON lines: what is sent arrives, and nothing else is taken for a message."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bb_jupyter.process.jsonl import connect, decode, encode, listen, receive_line


def test_a_message_is_one_line() -> None:
    line = encode(op="x", text="a\nb", number=7)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode(line) == {"op": "x", "text": "a\nb", "number": 7}


@pytest.mark.parametrize("line", [b"", b"[1]", b"7", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_message_is_none(line: bytes) -> None:
    assert decode(line) is None


def test_a_line_arrives_in_pieces() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b'{"a"')
        with pytest.raises(TimeoutError):
            receive_line(ours, timeout=0.05)
        theirs.sendall(b'{"a": 1}\nmore')
        assert receive_line(ours, timeout=9) == b'{"a": 1}\n'


def test_a_line_that_is_too_long_or_cut() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(b"x" * 100)
            with pytest.raises(ValueError, match="more than 10 bytes"):
                receive_line(ours, timeout=9, longest=10)
            theirs.sendall(b"cut")
        with pytest.raises(ConnectionError):
            receive_line(ours, timeout=9)


def test_a_path_may_be_longer_than_an_address(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    for _ in range(2):  # the second one replaces the first
        with listen(folder / "x") as listener, connect(folder / "x", 9) as client:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(encode(a=1))
            assert receive_line(client, timeout=9) == b'{"a": 1}\n'
