"""`%%bottle` in a real kernel."""

from __future__ import annotations

import pytest

from tests.kernel.notebook import Notebook

pytestmark = pytest.mark.bubblewrap


def test_first_cell_shows_the_preflight_then_the_output(notebook: Notebook, bottle_name: str) -> None:
    cell = notebook.run(f"%%bottle {bottle_name}\necho hello from $(hostname)")
    assert cell.ok
    plan, launched = cell.displays
    for word in ("backend", "bubblewrap", "BOT_BOTTLE_BACKEND", "user", "limits", "copied in"):
        assert word in plan["text/plain"]
    assert "network  " in plan["text/plain"] and "none" in plan["text/plain"]
    assert "<table>" in plan["text/html"]
    assert launched["text/plain"].startswith(f"launched {bottle_name} in ")
    assert cell.stdout == f"hello from {bottle_name}\n"


def test_second_cell_finds_the_files_of_the_first_and_shows_only_output(notebook: Notebook, bottle_name: str) -> None:
    notebook.run(f"%%bottle {bottle_name}\necho kept > file")
    cell = notebook.run(f"%%bottle {bottle_name}  # the same bottle\ncat file")
    assert (cell.stdout, cell.displays) == ("kept\n", [])


def test_output_arrives_while_the_script_runs(notebook: Notebook, bottle_name: str) -> None:
    notebook.run(f"%%bottle {bottle_name}\nmkfifo gate")
    running = notebook.start(f"%%bottle {bottle_name}\necho before; read line < gate; echo after $line")
    cell = notebook.until(running, lambda cell: "before\n" in cell.stdout)
    assert not cell.idle
    # The kernel is busy; a second kernel thread opens the gate.
    notebook.interrupt()
    assert "after" not in notebook.finish(running).stdout


def test_body_is_never_expanded(notebook: Notebook, bottle_name: str) -> None:
    notebook.run("name = 'expanded'")
    cell = notebook.run(f"%%bottle {bottle_name}\nX=1; echo '{{name}}' '$name' ${{X}} \"$X\"")
    assert cell.stdout == "{name} $name 1 1\n"


def test_values_of_options_are_looked_up_and_never_evaluated(notebook: Notebook, bottle_name: str) -> None:
    notebook.run("value = 'two words'")
    options = "-e A={value} -e 'B={{value}}' -e 'C={\"k\": 1}'"
    cell = notebook.run(f"%%bottle {bottle_name} {options}\necho $A $B $C")
    assert cell.stdout == 'two words {value} {"k": 1}\n'
    cell = notebook.run(f"%%bottle {bottle_name} -e 'A={{print(1)}}' -e 'B={{value.x}}'\necho $A $B")
    assert cell.stdout == "{print(1)} {value.x}\n"


def test_env_without_a_value_is_that_of_the_kernel(notebook: Notebook, bottle_name: str) -> None:
    notebook.run("import os; os.environ['BB_TEST_SET'] = 'from the kernel'")
    cell = notebook.run(f"%%bottle {bottle_name} -e BB_TEST_SET\necho $BB_TEST_SET")
    assert cell.stdout == "from the kernel\n"


def test_cwd_and_env_of_a_later_cell_hold_for_that_cell(notebook: Notebook, bottle_name: str) -> None:
    notebook.run(f"%%bottle {bottle_name}\nmkdir inner")
    assert notebook.run(f"%%bottle {bottle_name} --cwd inner -e A=1\npwd; echo $A").stdout.endswith("/inner\n1\n")
    assert notebook.run(f"%%bottle {bottle_name}\npwd; echo $A").stdout == "/home/agent\n\n"


def test_without_a_body_the_bottle_is_only_launched(notebook: Notebook, bottle_name: str) -> None:
    cell = notebook.run(f"%%bottle {bottle_name}")
    assert cell.ok and "launched" in cell.displays[-1]["text/plain"]
    assert bottle_name in notebook.run("%bottle ls").displays[0]["text/plain"]


def test_out_stores_the_result(notebook: Notebook, bottle_name: str) -> None:
    notebook.run(f"%%bottle {bottle_name} --no-raise-error --out run\necho out; echo err >&2; exit 4")
    cell = notebook.run("print(run.returncode, run.ok, repr(run.stdout), repr(run.stderr))")
    assert cell.stdout == "4 False 'out\\n' 'err\\n'\n"
    log = notebook.run("print(run.log.read_text())").stdout
    assert sorted(log.split()) == ["err", "out"]


def test_out_is_stored_even_when_the_cell_fails(notebook: Notebook, bottle_name: str) -> None:
    assert not notebook.run(f"%%bottle {bottle_name} --out failed\nexit 5").ok
    assert notebook.run("print(failed.returncode)").stdout == "5\n"


def test_fresh_launches_a_new_bottle(notebook: Notebook, bottle_name: str) -> None:
    notebook.run(f"%%bottle {bottle_name}\ntouch old")
    cell = notebook.run(f"%%bottle {bottle_name} --fresh\nls")
    assert cell.stdout == "" and cell.displays


def test_rm_stops_the_bottle_after_the_script_even_when_that_fails(notebook: Notebook, bottle_name: str) -> None:
    notebook.run(f"%%bottle {bottle_name} --rm\nexit 1")
    assert "this kernel has no bottle" in notebook.run(f"%bottle cp {bottle_name}:x y").error


def test_the_launching_cell_can_be_run_again(notebook: Notebook, bottle_name: str) -> None:
    notebook.run("!mkdir -p src && echo copied > src/file")
    code = f"%%bottle {bottle_name} --memory 512m --copy src --env A=1\necho $A; cat src/file"
    assert notebook.run(code).stdout == notebook.run(code).stdout == "1\ncopied\n"


def test_another_launch_option_on_a_running_bottle_is_refused_not_ignored(notebook: Notebook, bottle_name: str) -> None:
    notebook.run(f"%%bottle {bottle_name} --memory 512m")
    cell = notebook.run(f"%%bottle {bottle_name} --memory 256m\necho ran")
    assert not cell.ok and cell.stdout == ""
    assert "is running and was launched with another" in cell.error and "--fresh" in cell.error


def test_python_api_and_cells_share_their_bottles(notebook: Notebook, bottle_name: str) -> None:
    notebook.run(f"%%bottle {bottle_name}\necho from the cell > file")
    cell = notebook.run(
        f"import bb_jupyter\nprint(bb_jupyter.get('{bottle_name}').exec(['cat', 'file']).wait().stdout)\n"
        f"print('{bottle_name}' in [agent.name for agent in bb_jupyter.active()])"
    )
    assert cell.stdout == "b'from the cell\\n'\nTrue\n"


def test_plain_output_is_text_alone(new_notebook: object, bottle_name: str) -> None:
    plain = new_notebook(plain=True)  # type: ignore[operator]
    cell = plain.run(f"%%bottle {bottle_name}\necho ran")
    assert not cell.of("display_data", "update_display_data")
    assert cell.stdout.startswith(f"bottle {bottle_name}\n") and cell.stdout.endswith(" s\nran\n")
