"""P7: a workspace cannot program the host: nothing that lies in it is run or read for settings by us."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.conftest import NewNotebook

pytestmark = pytest.mark.bubblewrap

#: What other programs load from the folder they are started in, or that a process of ours would import from there.
_PLANTED = (
    *("sitecustomize.py", "usercustomize.py", "ipython_config.py", "conftest.py", "bb_jupyter.py"),
    *(f"{name}.py" for name in ("aiohttp", "pathspec", "yaml", "pydantic", "docker", "idna", "mcp", "uvicorn")),
    *(f"{name}.py" for name in ("markdown_it", "cryptography", "detect_secrets", "anywidget", "watchfiles", "smol")),
)


def test_what_lies_in_a_workspace_is_never_loaded_by_us(
    new_notebook: NewNotebook, tmp_path: Path, home: Path, bottle_name: str
) -> None:
    workspace, marks = tmp_path / "workspace", tmp_path / "marks"
    (workspace / ".bot-bottle/contrib/shell").mkdir(parents=True)
    for name in (*_PLANTED, ".bot-bottle/contrib/shell/agent_provider.py"):
        (workspace / name).write_text(f"open({str(marks)!r}, 'a').write({name!r})\n")
    (workspace / ".env").write_text(f"BOT_BOTTLE_BACKEND=docker\nBOT_BOTTLE_HOME={workspace}\nPLANTED=1\n")
    notebook = new_notebook(plain=True)
    notebook.run(f"%cd -q {workspace}")
    cell = notebook.run(f"%%bottle {bottle_name} --agent shell --copy . --allow example.test\nrun env\ndone ok")
    assert cell.ok, cell.error
    assert "bubblewrap (BOT_BOTTLE_BACKEND says so)" in cell.stdout and "PLANTED" not in cell.stdout
    assert "left out as sensitive: .env" in cell.stdout
    assert notebook.run("%bottle selftest demo --new").ok
    assert notebook.run("%bottle doctor").ok and notebook.run("%bottle agents").ok
    assert not marks.exists(), marks.read_text()
    assert not (workspace / "state").exists() and (home / "state").is_dir()
