"""What a trusted child inherits: named variables and descriptors, nothing of the notebook's folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bb_jupyter.process import trusted_child

_CHILD = """
import json, os, sys
text = os.read(int(sys.argv[1]), 10).decode()
inherited = [fd for fd in os.listdir("/proc/self/fd") if int(fd) > 2]
leads = os.getsid(0) == os.getpid()
print(json.dumps([text, dict(os.environ), os.getcwd(), sys.path[0], leads, inherited]), flush=True)
sys.stdin.buffer.read()
"""


def test_what_a_child_inherits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/child_of_a_test.py").write_text(_CHILD)
    (tmp_path / "notebook").mkdir()
    (tmp_path / "notebook/json.py").write_text("raise SystemExit('imported from the notebook')")
    monkeypatch.chdir(tmp_path / "notebook")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.setenv("SECRET", "secret")
    monkeypatch.setenv("WANTED", "wanted")
    read, write = os.pipe()
    os.write(write, b"hello")
    child = trusted_child.spawn("child_of_a_test", str(read), descriptors=[read], environment=["WANTED", "UNSET"])
    assert child.stdin and child.stdout
    try:
        text, variables, folder, path, leader, inherited = json.loads(child.stdout.readline())
    finally:
        child.stdin.close()  # ends it
        status = child.wait(30)
        child.stdout.close()
        os.close(read)
        os.close(write)
    assert (text, folder, leader, status) == ("hello", "/", True, 0)
    assert variables["WANTED"] == "wanted" and "SECRET" not in variables and "UNSET" not in variables
    assert path != str(tmp_path / "notebook")
    assert str(read) in inherited and str(write) not in inherited
