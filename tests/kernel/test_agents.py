"""A prompt in a cell of a real kernel: shown while the agent works, folded at its end, its result kept."""

from __future__ import annotations

from tests.kernel.conftest import NewNotebook
from tests.kernel.notebook import Notebook


def test_a_prompt_is_shown_folded_with_its_answer_below(notebook: Notebook, bottle_name: str) -> None:
    script = (
        "think hm\nsay Hello <b>you</b>.\nrun echo out > made.txt; cat made.txt\ndone All **done** <script>x</script>"
    )
    cell = notebook.run(f"%%bottle {bottle_name} --agent shell --out r\n{script}")
    assert cell.ok, cell.error
    run, answer = cell.displays[-2:]
    assert run["text/html"].startswith("<div><details><summary>") and "out" in run["text/html"]
    assert "changed made.txt" in run["text/plain"] and "▸ run: echo out" in run["text/plain"]
    assert "<strong>done</strong>" in answer["text/html"] and answer["text/plain"].startswith("All **done**")
    markup = run["text/html"] + answer["text/html"]
    assert "<script" not in markup and "<b>you" not in markup
    assert (
        notebook.run("print(r.ok, r.answer[:12], r.changed, r.usage.turns)").stdout
        == "True All **done** ('made.txt',) 1\n"
    )


def test_later_cells_go_on_or_begin_anew_and_scripts_stay_scripts(notebook: Notebook, bottle_name: str) -> None:
    notebook.run(f"%%bottle {bottle_name} --agent shell\nsay one")
    for options, turn in (("--agent shell", 2), ("--resume", 3), ("--new", 1)):
        cell = notebook.run(f"%%bottle {bottle_name} {options}\nrun echo turn $TURN")
        assert f"turn {turn}" in cell.displays[-1]["text/plain"]
    assert notebook.run(f"%%bottle {bottle_name}\necho script").stdout == "script\n"


def test_options_that_cannot_be_right(notebook: Notebook, bottle_name: str) -> None:
    notebook.run(f"%%bottle {bottle_name}\ntrue")
    for options, words in (
        ("--resume", "has no agent"),
        ("--resume --new", "exclude each other"),
        ("--new --user root", "--user applies to scripts"),
        ("--agent shell", "launched with another --agent"),
    ):
        cell = notebook.run(f"%%bottle {bottle_name} {options}\nsay x")
        assert not cell.ok and words in cell.error and "Traceback" not in cell.error, options


def test_a_run_that_fails_fails_its_cell_unless_told_otherwise(notebook: Notebook, bottle_name: str) -> None:
    cell = notebook.run(f"%%bottle {bottle_name} --agent shell --out r\nsay a\nfail no such thing")
    assert not cell.ok and "CommandFailed" in cell.error and "no such thing" in cell.error
    assert notebook.run("print(r.returncode, r.failure)").stdout == "1 no such thing\n"
    assert notebook.run(f"%%bottle {bottle_name} --resume --no-raise-error\nfail no").ok


def test_an_interrupt_ends_the_agent_and_keeps_the_transcript(notebook: Notebook, bottle_name: str) -> None:
    assert notebook.run(f"%%bottle {bottle_name} --agent shell\nsay ready").ok
    busy = notebook.start(f"%%bottle {bottle_name} --resume --out r\nsay before\nrun sleep 1000\nsay late")
    notebook.until(busy, lambda cell: "sleep 1000" in str(cell.displays))
    notebook.interrupt()
    cell = notebook.finish(busy)
    assert not cell.ok and "interrupted" in cell.error
    assert "before" in cell.displays[0]["text/plain"] and "late" not in cell.displays[0]["text/plain"]
    assert notebook.run("print(r.interrupted, [e.kind for e in r.events][:2])").stdout == "True ['started', 'text']\n"
    assert "turn 3" in str(notebook.run(f"%%bottle {bottle_name} --resume\nrun echo turn $TURN").displays)


def test_a_prompt_in_the_background(notebook: Notebook, bottle_name: str) -> None:
    assert notebook.run(f"%%bottle {bottle_name} --agent shell --bg --out run\nsay a\ndone **b**").ok
    assert notebook.run("print(run.wait(60).answer)").stdout == "**b**\n"


def test_plain_output_and_the_list_of_agents(new_notebook: NewNotebook, bottle_name: str) -> None:
    notebook = new_notebook(plain=True)
    cell = notebook.run(f"%%bottle {bottle_name} --agent shell\nsay hello\nrun seq 1 20")
    assert "\nhello\n▸ run: seq 1 20\n  1\n" in cell.stdout and "… 10 more" in cell.stdout and not cell.displays
    assert "claude" in notebook.run("%bottle agents").stdout


def test_an_agent_of_a_provider_that_cannot_be_used_is_listed_so(notebook: Notebook) -> None:
    notebook.run("import os, pathlib; home = pathlib.Path(os.environ['BOT_BOTTLE_HOME'])")
    notebook.run("(home / 'agents').mkdir(); (home / 'contrib' / 'wrong').mkdir(parents=True)")
    notebook.run("(home / 'contrib' / 'wrong' / 'agent_provider.py').write_text('1 / 0')")
    for provider in ("wrong", "shel"):
        notebook.run(f"(home / 'agents' / 'of-{provider}.md').write_text('---\\nprovider: {provider}\\n---\\n')")
    (listed,) = notebook.run("%bottle agents").displays
    assert "its provider is broken: " in listed["text/plain"] and "ZeroDivisionError" in listed["text/plain"]
    assert "there is no provider 'shel'; Did you mean 'shell'?" in listed["text/plain"]
