"""A folder that a colleague can open: one page for all, one for each run, the table as CSV and JSON, the raw files.

Pages are plain HTML without a script, with a policy that lets none run and nothing be fetched; all that came from a
bottle is escaped in them.
"""

from __future__ import annotations

import csv
import html
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bb_jupyter.agent.events import AgentEvent, Failure, Final, Text, Thinking, ToolCall, ToolResult
from bb_jupyter.errors import UsageError
from bb_jupyter.experiment.record import RunRecord
from bb_jupyter.text.visible import block

if TYPE_CHECKING:
    from bb_jupyter.experiment.experiment import Experiment

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 }
th, td { text-align: left; padding: .2em .8em; border: 1px solid #ddd }
pre { background: #f6f6f6; padding: .8em; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere }
.passed { color: #00664a } .failed { color: #a63c00 } .stopped, .waiting, .running { color: #666 }
img { max-width: 100% }
"""
_COLUMNS = ("agent", "prompt", "bottle", "repeat", "state", "seconds", "cost", "reason")
#: How much of one text a page shows, in characters; the raw file has all of it.
_MOST = 200_000


def export(experiment: Experiment, target: Path) -> Path:
    """Write an experiment to a new folder.

    Args:
        experiment: which.
        target: the folder; must not exist, or be empty.

    Returns:
        Its `index.html`.

    Raises:
        UsageError: there is something at *target*, or the experiment was not begun.
    """
    runs = experiment.runs()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists already", hint="Name a new folder.")
    (target / "runs").mkdir(parents=True)
    for run in runs:
        _write_run(run, target / "runs" / run.id)
    _write_table([run.row() for run in runs], target)
    definition = experiment.definition.model_dump(mode="json")
    (target / "definition.json").write_text(json.dumps(definition, indent=1), encoding="utf-8")
    figure = _figure(experiment, target)
    page = _index(experiment, runs, figure=figure)
    (target / "index.html").write_text(page, encoding="utf-8", errors="replace")
    return target / "index.html"


def visible(text: str) -> str:
    """Return *text* for HTML, with its lines; of a long text the beginning and the end."""
    shown = text if len(text) <= _MOST else f"{text[: _MOST // 2]}\n…\n{text[-_MOST // 2 :]}"
    return html.escape(block(shown))


def transcript(events: Iterable[AgentEvent]) -> str:
    """Return what an agent did, as HTML."""
    return "".join(_event(event) for event in events)


def _index(experiment: Experiment, runs: Sequence[RunRecord], *, figure: bool) -> str:
    states = [run.state for run in runs]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    picture = '<p><img src="figure.png" alt="pass rates and durations"></p>' if figure else ""
    tables = experiment.compare()._repr_html_() if any(run.counted for run in runs) else ""
    head = "".join(f"<th>{name}</th>" for name in ("run", *_COLUMNS))
    rows = "".join(_row(run) for run in runs)
    data = '<p>As data: <a href="runs.csv">runs.csv</a>, <a href="runs.json">runs.json</a>, '
    data += '<a href="definition.json">definition.json</a>; each run has a folder with its raw files.</p>'
    body = f"<p>{len(runs)} runs: {counts}.</p>{tables}{picture}<table><tr>{head}</tr>{rows}</table>{data}"
    return _page(f"Experiment {experiment.name}", body)


def _row(run: RunRecord) -> str:
    row = run.row()
    cells = "".join(f'<td class="{run.state}">{visible(_cell(row[name]))}</td>' for name in _COLUMNS)
    return f'<tr><td><a href="runs/{run.id}/index.html">{run.id}</a></td>{cells}</tr>'


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _write_run(run: RunRecord, folder: Path) -> None:
    if run.folder.is_dir():
        shutil.copytree(run.folder, folder)
    else:
        folder.mkdir()
    rows = "".join(f"<tr><th>{visible(k)}</th><td>{visible(_cell(v))}</td></tr>" for k, v in run.row().items())
    parts = [f'<p><a href="../../index.html">all runs</a></p><table>{rows}</table>']
    for title, text in (("Answer", run.answer), ("What it changed", run.diff), ("Check", run.check_output)):
        parts += [f"<h2>{title}</h2><pre>{visible(text)}</pre>"] if text else []
    parts += ["<h2>Transcript</h2>", transcript(run.events)]
    page = _page(f"Run {run.id}: {run.state}", "".join(parts))
    (folder / "index.html").write_text(page, encoding="utf-8", errors="replace")


def _event(event: AgentEvent) -> str:
    if isinstance(event, Text | Final):
        return f"<p style='white-space:pre-wrap'>{visible(event.text)}</p>"
    if isinstance(event, Thinking):
        return f"<p style='white-space:pre-wrap'><i>{visible(event.text)}</i></p>"
    if isinstance(event, ToolCall):
        return f"<p><b>{visible(event.name)}</b> <code>{visible(event.summary)}</code></p>"
    if isinstance(event, ToolResult):
        return f"<pre>{visible(event.output)}</pre>"
    return f"<p class='failed'>{visible(event.message)}</p>" if isinstance(event, Failure) else ""


def _write_table(rows: Sequence[dict[str, Any]], target: Path) -> None:
    names = [*dict.fromkeys(name for row in rows for name in row)]
    with (target / "runs.csv").open("w", newline="", encoding="utf-8", errors="replace") as file:
        table = csv.DictWriter(file, names)
        table.writeheader()
        table.writerows({key: _plain(value) for key, value in row.items()} for row in rows)
    (target / "runs.json").write_text(json.dumps(rows, indent=1, default=str), encoding="utf-8", errors="replace")


def _plain(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula (CWE-1236)."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _figure(experiment: Experiment, target: Path) -> bool:
    try:
        experiment.figure().savefig(target / "figure.png", dpi=120)
    except UsageError:  # without matplotlib the table has to do
        return False
    return True


def _page(title: str, body: str) -> str:
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    head += f"<title>{visible(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body><h1>{visible(title)}</h1>{body}</body></html>\n"
