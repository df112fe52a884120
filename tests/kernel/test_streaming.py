"""Output of a bottle into a cell of a real kernel: in order, capped, bounded, and ended by an interrupt."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.kernel.notebook import Cell, Notebook

pytestmark = pytest.mark.bubblewrap


@pytest.fixture
def bottle(notebook: Notebook, bottle_name: str) -> str:
    """A running bottle."""
    assert notebook.run(f"%%bottle {bottle_name}").ok
    return bottle_name


def interrupted(notebook: Notebook, code: str, when: str) -> Cell:
    """Run *code*, interrupt it when it has printed *when*, and wait for its end."""
    running = notebook.start(code)
    notebook.until(running, lambda cell: when in cell.stdout)
    notebook.interrupt()
    return notebook.finish(running)


def test_interrupt_keeps_the_output_and_the_bottle_and_stops_run_all(notebook: Notebook, bottle: str) -> None:
    cell = interrupted(notebook, f"%%bottle {bottle}\necho begun; sleep 1000 & sleep 1000; echo never", "begun\n")
    assert cell.stdout == "begun\n" and not cell.ok
    assert re.fullmatch(rf"KeyboardInterrupt: {bottle}: interrupted after \S+ s; the bottle keeps running", cell.error)
    after = notebook.run(f"%%bottle {bottle}\nps -A -o args | grep -c '[s]leep 1000' || echo alive")
    assert after.stdout == "0\nalive\n"


def test_what_a_killed_script_had_written_is_shown(notebook: Notebook, bottle: str) -> None:
    code = f"%%bottle {bottle}\necho begun; head -c 300000 /dev/zero | tr '\\0' x; echo; echo written; sleep 1000"
    cell = interrupted(notebook, code, "begun\n")
    assert cell.stdout.startswith("begun\n") and not cell.ok


def test_interrupt_stores_the_result(notebook: Notebook, bottle: str) -> None:
    interrupted(notebook, f"%%bottle {bottle} --no-raise-error --out run\necho begun; sleep 1000", "begun\n")
    assert notebook.run("print(run.interrupted, run.stdout)").stdout == "True begun\n\n"


def test_time_limit_says_so_and_leaves_the_bottle(notebook: Notebook, bottle: str) -> None:
    cell = notebook.run(f"%%bottle {bottle} --timeout 250ms --out run\necho begun; sleep 1000")
    assert cell.stdout == "begun\n"
    assert cell.error.startswith(f"CommandFailed: {bottle}: timed out after ")
    assert notebook.run("print(run.returncode, run.timed_out)").stdout == "124 True\n"
    assert notebook.run(f"%%bottle {bottle}\necho alive").stdout == "alive\n"


def test_time_limit_says_so_in_a_cell_that_does_not_fail(notebook: Notebook, bottle: str) -> None:
    for options in ("--no-raise-error", "--no-raise-error --bg --out run"):
        key = notebook.start(f"%%bottle {bottle} --timeout 250ms {options}\necho begun; sleep 1000")
        assert notebook.finish(key).ok
        cell = notebook.until(key, lambda cell: "timed out" in cell.stdout)
        assert re.search(rf"begun\n{bottle}: timed out after \S+ s; the bottle keeps running\n", cell.stdout)
        assert not cell.error and not cell.stderr


def test_failing_script_fails_the_cell_with_one_line(notebook: Notebook, bottle: str) -> None:
    cell = notebook.run(f"%%bottle {bottle}\necho before; false; echo after")
    assert cell.stdout == "before\n"
    assert re.fullmatch(rf"CommandFailed: {bottle}: exit status 1 after \S+ s", cell.error)
    assert cell.reply["ename"] == "CommandFailed"


def test_stdout_and_stderr_are_told_apart(notebook: Notebook, bottle: str) -> None:
    cell = notebook.run(f"%%bottle {bottle}\necho out; echo err >&2")
    assert (cell.stdout, cell.stderr) == ("out\n", "err\n")


def test_alternating_streams_make_few_outputs(notebook: Notebook, bottle: str) -> None:
    script = "for i in $(seq 300); do echo out $i; sleep 0.001; echo err $i >&2; sleep 0.001; done"
    cell = notebook.run(f"%%bottle {bottle}\n{script}")
    assert len(cell.streams) < 50  # what JupyterLab draws of one cell
    shown = re.sub(r"\x1b\[\d+m", "", "".join(text for _, text in cell.streams))
    assert set(shown.splitlines()) == {f"{word} {i}" for i in range(1, 301) for word in ("out", "err")}


def test_many_small_writes_make_few_messages(notebook: Notebook, bottle: str) -> None:
    cell = notebook.run(f"%%bottle {bottle}\nfor i in $(seq 3000); do echo $i; done")
    assert cell.stdout == "".join(f"{i}\n" for i in range(1, 3001))
    assert len(cell.of("stream")) < 300


def test_carriage_returns_pass(notebook: Notebook, bottle: str) -> None:
    cell = notebook.run(f"%%bottle {bottle}\nprintf '10%%\\r50%%\\r\\033[K100%%\\n'")
    assert cell.stdout == "10%\r50%\r100%\n"


def test_a_character_split_over_two_writes_is_one(notebook: Notebook, bottle: str) -> None:
    cell = notebook.run(f"%%bottle {bottle}\nprintf '\\342'; sleep 0.2; printf '\\202'; sleep 0.2; printf '\\254\\n'")
    assert cell.stdout == "€\n"


def test_control_sequences_are_shown_not_obeyed(notebook: Notebook, bottle: str) -> None:
    cell = notebook.run(f"%%bottle {bottle}\nprintf '\\033]0;title\\007 \\033[2J \\033[31mred\\n'")
    assert cell.stdout == "␛]0;title␇ ␛[2J \x1b[31mred\n\x1b[0m"


def test_binary_output_is_text_that_can_be_saved(notebook: Notebook, bottle: str) -> None:
    cell = notebook.run(f"%%bottle {bottle}\nhead -c 20000 /dev/urandom")
    assert cell.ok and cell.stdout
    assert not set(cell.stdout) & {chr(code) for code in [*range(9), *range(14, 27), *range(28, 32), 0x7F]}


def test_cap_shows_head_and_tail_and_names_the_log(notebook: Notebook, bottle: str) -> None:
    cell = notebook.run(f"%%bottle {bottle}\nseq 1000000")
    shown = cell.stdout.split()
    assert len(cell.stdout) <= 1 << 20
    assert (shown[0], shown[-1]) == ("1", "1000000")
    assert shown == sorted(shown, key=int)
    log = Path(re.findall(r"all of the output is in (\S+)", cell.stderr)[0])
    assert log.read_text() == "".join(f"{i}\n" for i in range(1, 1000001))
    left_out = re.findall(r"([\d.]+) MiB left out here", cell.stderr)
    assert float(left_out[0]) == pytest.approx((log.stat().st_size - len(cell.stdout)) / 2**20, abs=0.05)


def test_a_log_that_could_not_be_written_is_told(notebook: Notebook, bottle: str) -> None:
    notebook.run("import bb_jupyter.core.logs, pathlib; real = pathlib.Path.open")
    notebook.run("def full(*args, **options): raise OSError(28, 'No space left on device')")
    notebook.run("pathlib.Path.open = full")
    try:
        cell = notebook.run(f"%%bottle {bottle}\nseq 1000000")
    finally:
        notebook.run("pathlib.Path.open = real")
    assert cell.ok and cell.stdout.endswith("1000000\n")
    assert "the log is incomplete: the disk is full" in cell.stderr


def test_output_below_the_cap_is_whole_and_says_nothing(notebook: Notebook, bottle: str) -> None:
    cell = notebook.run(f"%%bottle {bottle}\nseq 150000")
    assert cell.stdout == "".join(f"{i}\n" for i in range(1, 150001))
    assert cell.stderr == ""


def test_one_line_without_end_is_capped(notebook: Notebook, bottle: str) -> None:
    cell = notebook.run(f"%%bottle {bottle}\nhead -c 5000000 /dev/zero | tr '\\0' x")
    assert cell.ok and 500_000 < len(cell.stdout) <= 1 << 20


def test_memory_of_the_kernel_stays_flat(notebook: Notebook, bottle: str) -> None:
    peak = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    notebook.run(f"%%bottle {bottle}\nyes 'a line of text' | head -c 20000000")
    before = int(notebook.run(peak).stdout)
    cell = notebook.run(f"%%bottle {bottle}\nyes 'a line of text' | head -c 200000000")
    assert cell.ok
    assert int(notebook.run(peak).stdout) - before < 30_000  # KiB


def test_output_cap_can_be_configured(notebook: Notebook, bottle: str) -> None:
    notebook.run("%config BottleMagics.output_cap = 2000")
    try:
        cell = notebook.run(f"%%bottle {bottle}\nseq 10000")
    finally:
        notebook.run("%config BottleMagics.output_cap = 1 << 20")
    assert len(cell.stdout) <= 2000 and "10000\n" in cell.stdout
