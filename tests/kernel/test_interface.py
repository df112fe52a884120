"""Help, completion, configuration and the sub-commands, as a front end asks for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.conftest import NewNotebook
from tests.kernel.notebook import Notebook

pytestmark = pytest.mark.bubblewrap


def matches(notebook: Notebook, code: str) -> list[str]:
    found: list[str] = notebook.complete(code)["matches"]
    return found


def test_bottle_alone_and_help_list_the_sub_commands(notebook: Notebook) -> None:
    shown = notebook.run("%bottle").stdout
    for name in ("ls", "plan", "stop", "logs", "cp", "attach", "cleanup", "doctor", "agents"):
        assert f"%bottle {name}" in shown
    assert notebook.run("%bottle --help").stdout == shown
    assert shown.strip() in notebook.inspect("%bottle")


def test_cell_magic_documents_itself_from_its_parser(notebook: Notebook) -> None:
    shown = notebook.run("%%bottle --help").stdout
    for option in ("--agent", "--env K[=V]", "--copy SRC[:DST]", "--timeout TIME", "--bg", "--no-raise-error"):
        assert option in shown
    paged = notebook.run("%%bottle?").reply["payload"][0]["data"]["text/plain"]
    assert all(line in paged for line in shown.splitlines())


@pytest.mark.parametrize(
    ("magic", "some"), [("bottle_manifest", "`%%bottle ... --bottle NAME`"), ("bottle_experiment", "--workers N")]
)
def test_the_other_cell_magics_document_themselves_too(notebook: Notebook, magic: str, some: str) -> None:
    assert some in notebook.run(f"%%{magic} --help").stdout
    assert matches(notebook, f"%%{magic} x --h") == ["--help"]
    assert "the cell body is empty" in notebook.run(f"%%{magic} x").stderr


def test_sub_commands_document_themselves(notebook: Notebook) -> None:
    assert "--tail N" in notebook.run("%bottle logs --help").stdout


def test_completion_offers_ours_alone(notebook: Notebook, bottle_name: str) -> None:
    notebook.run(f"%%bottle {bottle_name}")
    assert matches(notebook, "%bottle st") == ["stop"]
    assert matches(notebook, "%bottle ")[:2] == ["agents", "allow"]
    assert set(matches(notebook, f"%bottle stop {bottle_name[:3]}")) == {bottle_name}
    assert matches(notebook, "%%bottle ")[0] == bottle_name
    assert all(found == bottle_name or found.startswith("--") for found in matches(notebook, "%%bottle "))
    assert matches(notebook, "%%bottle demo --im") == ["--image"]
    assert matches(notebook, "%%bottle demo --backend ")[:2] == ["bubblewrap", "docker"]
    assert matches(notebook, "%%bottle demo --backend=d") == ["docker"]
    assert "--dry-run" in matches(notebook, "%bottle cleanup --d")
    assert matches(notebook, f"%bottle cp there {bottle_name[:3]}") == [f"{bottle_name}:"]


def test_completion_knows_paths_of_this_host(notebook: Notebook, tmp_path: Path) -> None:
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "table.csv").touch()
    folder = tmp_path / "data"
    assert matches(notebook, f"%%bottle demo --copy {folder}/") == [f"{folder}/deep/", f"{folder}/table.csv"]
    assert matches(notebook, f"%bottle cp {tmp_path}/da") == [f"{folder}/"]


def test_completion_knows_manifests(notebook: Notebook) -> None:
    notebook.run("%%bottle_manifest completed\nenv: {A: b}")
    assert matches(notebook, "%%bottle demo --bottle comp") == ["completed"]


def test_completion_knows_agents_and_providers(notebook: Notebook) -> None:
    notebook.run("import os, pathlib; agents = pathlib.Path(os.environ['BOT_BOTTLE_HOME'], 'agents'); agents.mkdir()")
    notebook.run("(agents / 'cleaner.md').write_text('---\\nprovider: shell\\n---\\nTidy up.\\n')")
    assert matches(notebook, "%%bottle demo --agent ") == ["claude", "cleaner", "codex", "shell"]
    assert matches(notebook, "%bottle plan demo -a cl") == ["claude", "cleaner"]
    assert "Did you mean 'claude'?" in notebook.run("%bottle plan demo --agent clade").error


def test_completion_leaves_other_cells_and_bodies_alone(notebook: Notebook) -> None:
    notebook.run("bottleneck = 1")
    assert "bottleneck" in matches(notebook, "bottlen")
    assert "--image" not in matches(notebook, "%%bottle demo\n--im")


def test_config_sets_the_defaults_of_cells_and_of_python(new_notebook: NewNotebook, bottle_name: str) -> None:
    notebook = new_notebook(plain=True)
    notebook.run("%config BottleMagics.memory = '512m'")
    notebook.run("%config BottleMagics.timeout = '250ms'")
    notebook.run("%config BottleMagics.backend = 'bubblewrap'")
    assert "memory 512 MiB" in notebook.run(f"%bottle plan {bottle_name}").stdout
    assert "%config says so" in notebook.run(f"%bottle plan {bottle_name}").stdout
    assert "timed out" in notebook.run(f"%%bottle {bottle_name}\nsleep 1000").error
    code = f"import bb_jupyter\nwith bb_jupyter.launch('{bottle_name}-py') as bottle: print(bottle.plan.text())"
    assert "memory 512 MiB" in notebook.run(code).stdout


def test_config_is_completed_and_refuses_wrong_values(notebook: Notebook) -> None:
    assert "BottleMagics.output_cap" in matches(notebook, "%config BottleMagics.out")
    assert "Did you mean 'docker'?" in notebook.run("%config BottleMagics.backend = 'dockr'").stderr
    assert "not a size" in notebook.run("%config BottleMagics.memory = 'lots'").stderr
    assert "not a duration" in notebook.run("%config BottleMagics.timeout = 'soon'").stderr
    assert notebook.run("%config BottleMagics.backend").of("execute_result")[0]["content"]["data"]["text/plain"] == "''"


def test_plan_starts_nothing(notebook: Notebook, bottle_name: str) -> None:
    cell = notebook.run(f"%bottle plan {bottle_name} --memory 1g --env A=b")
    assert "memory 1 GiB" in cell.displays[0]["text/plain"] and "environment" in cell.displays[0]["text/html"]
    assert bottle_name not in notebook.run("%bottle ls").stdout


def test_manifest_of_a_cell_is_used_by_name(notebook: Notebook, bottle_name: str) -> None:
    said = notebook.run("%%bottle_manifest web\nenv: {GREETING: hello}\nlimits: {memory: 512m}").stdout
    assert said == "defined bottle web: environment: GREETING; limits: memory 512 MiB\n"
    assert notebook.run(f"%%bottle {bottle_name} --bottle web\necho $GREETING").stdout == "hello\n"
    assert "web" in notebook.run("%bottle bottles").displays[0]["text/plain"]
    assert "web" in notebook.run("%bottle ls").displays[0]["text/plain"]


def test_logs_show_an_earlier_run_of_a_stopped_bottle(notebook: Notebook, bottle_name: str) -> None:
    notebook.run(f"%%bottle {bottle_name}\nseq 5")
    notebook.run(f"%%bottle {bottle_name}\nprintf 'second\\033[2J\\n'")
    notebook.run(f"%bottle stop {bottle_name}")
    assert notebook.run(f"%bottle logs {bottle_name}").stdout.endswith("\nsecond␛[2J\n")
    assert notebook.run(f"%bottle logs {bottle_name} --run 1 --tail 2").stdout.endswith("log\n4\n5\n")


def test_cp_goes_both_ways_and_tells_what_was_refused(notebook: Notebook, bottle_name: str) -> None:
    notebook.run("!echo from the host > sent")
    notebook.run(f"%%bottle {bottle_name}\nmkdir tree; echo x > tree/$'a\\nb'; ln -s /etc/passwd tree/link")
    assert notebook.run(f"%bottle cp sent {bottle_name}:there").stdout.startswith("copied 1 entry (14 B) from sent to ")
    assert notebook.run(f"%%bottle {bottle_name}\ncat there").stdout == "from the host\n"
    said = notebook.run(f"%bottle cp {bottle_name}:tree fetched").stdout
    assert "refused" in said and "link" in said
    assert notebook.run("print(open('fetched/a\\nb').read())").stdout == "x\n\n"


def test_doctor_checks_every_backend(notebook: Notebook) -> None:
    shown = notebook.run("%bottle doctor").displays[0]["text/plain"]
    for word in ("bubblewrap", "docker", "versions", "ipykernel", "verdict"):
        assert word in shown


def test_unloading_takes_the_magics_away(new_notebook: NewNotebook) -> None:
    notebook = new_notebook(plain=True)
    notebook.run("%unload_ext bb_jupyter")
    assert not notebook.run("%bottle").ok
    assert "--image" not in matches(notebook, "%%bottle demo --im")
    assert notebook.run("%load_ext bb_jupyter").ok and notebook.run("%bottle").ok
    assert notebook.run("%reload_ext bb_jupyter").ok and notebook.run("%bottle").ok
    assert matches(notebook, "%bottle st") == ["stop"]
