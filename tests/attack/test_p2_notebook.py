"""P2: a notebook that was executed in a real kernel and saved holds no secret, whatever went wrong in it."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.attack.conftest import TOKEN, TOKEN_REF, yaml_of
from tests.attack.service import Service
from tests.attack.test_p2_secrets import MASKER
from tests.leftovers import Engine

_CELLS = (
    "%load_ext bb_jupyter",
    "%%bottle_manifest station\n{manifest}",
    "%%bottle demo --bottle station --backend {backend}\nenv; curl -sS https://secret.test/reflect",
    "%%bottle demo --out kept\ncurl -sS -i https://secret.test/reflect; curl -sS https://other.test/ || true; exit 3",
    "kept",
    "%bottle plan demo --bottle station",
    "%bottle ls",
    "%bottle egress demo",
    "%bottle egress demo --suggest",
    "%bottle logs demo",
    "%bottle allow demo more.test",
    "import bb_jupyter; held = bb_jupyter.get('demo'); held, held.plan, vars(held.bottle.network)",
    "bb_jupyter.audit('demo')",
    # A credential that no header can carry: the error must not quote it, not even to who asks for all of it.
    "import os; good = os.environ['{ref}']; os.environ['{ref}'] = good + chr(10); del good",
    "%bottle allow demo late.test",
    "%xmode Verbose",
    "%tb",
    "held.allow('later.test')",
    "%%bottle second --bottle station\ntrue",
    "%tb",
    "bb_jupyter.launch('third', bottle='station')",
    "%tb",
    "%bottle stop demo",
    "%bottle egress demo",
)


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param("bubblewrap", marks=pytest.mark.bubblewrap),
        pytest.param("docker", marks=pytest.mark.docker),
    ],
)
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "rich"])
def test_a_saved_notebook_holds_no_secret(
    backend: str,
    plain: bool,
    service: Service,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if backend == "docker":
        engine: Engine = request.getfixturevalue("engine")
        monkeypatch.setenv("BOT_BOTTLE_BASE_IMAGE", engine.base_image)
    monkeypatch.setenv("IPYTHONDIR", str(home / "ipython"))
    monkeypatch.setenv("BB_JUPYTER_PLAIN", "1" if plain else "")
    monkeypatch.setenv(TOKEN_REF, TOKEN)
    route = service.route("secret.test", auth={"scheme": "bearer", "token_ref": TOKEN_REF})
    values = {"manifest": yaml_of(route), "backend": backend, "ref": TOKEN_REF}
    notebook = nbformat.v4.new_notebook()
    for cell in _CELLS:
        for name, value in values.items():
            cell = cell.replace(f"{{{name}}}", value)
        notebook.cells.append(nbformat.v4.new_code_cell(cell))
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", allow_errors=True)
    client.execute(cwd=str(home))
    leaking = [cell.source for cell in notebook.cells if MASKER.finds(json.dumps(cell.get("outputs")).encode())]
    assert leaking == []
    saved = home / "saved.ipynb"
    nbformat.write(notebook, saved)
    text = json.dumps([cell.get("outputs") for cell in notebook.cells], ensure_ascii=False)
    assert "error: bad credential Bearer ****" in text  # it was there to be seen
    assert "no-route" in text
    assert "ManifestError" in text
    for path in (path for path in home.rglob("*") if path.is_file()):
        assert not MASKER.finds(path.read_bytes()), path
