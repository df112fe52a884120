"""Results for others: a folder that opens in any browser, or runs logged to MLflow.

The folder has a page for the experiment, one for each run, the table as CSV and JSON, and the raw files.  The pages are
plain HTML with a content security policy that allows no script and no request; all text from bottles is escaped.
"""

from __future__ import annotations

import csv
import html
import json
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bb_jupyter.agent.events import AgentEvent, Failure, Final, Text, Thinking, ToolCall, ToolResult
from bb_jupyter.errors import UsageError
from bb_jupyter.experiment.compare import compare, import_optional
from bb_jupyter.experiment.definition import Definition
from bb_jupyter.experiment.record import RunRecord
from bb_jupyter.text.visible import block

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
_FILES = ("events.jsonl", "workspace.diff", "check.txt", "egress.jsonl")
_PARAMS = ("agent", "prompt", "bottle", "repeat", "seed")
_METRICS = ("score", "seconds", "input_tokens", "output_tokens", "turns", "cost", "requests", "denied")
#: Tag with the id of a logged run; set last, so that a run whose logging was interrupted is logged again.
_TAG = "bottle.run"
#: Longest value of a parameter that every version of MLflow accepts, in characters.
_LONGEST = 500
#: Most characters of one text on a page; the raw file has all of it.
_MOST = 200_000


def export(definition: Definition, runs: Sequence[RunRecord], target: Path) -> Path:
    """Write an experiment to a new folder.

    Args:
        definition: the experiment.
        runs: its runs.
        target: the folder; must not exist, or be empty.

    Returns:
        The path of the folder's `index.html`.

    Raises:
        UsageError: *target* exists and is not an empty folder.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists already", hint="Name a new folder.")
    (target / "runs").mkdir(parents=True)
    for run in runs:
        _write_run(run, target / "runs" / run.id)
    _write_table([run.row() for run in runs], target)
    (target / "definition.json").write_text(json.dumps(definition.model_dump(mode="json"), indent=1), encoding="utf-8")
    page = _index(definition.name, runs, figure=_draw_figure(runs, target))
    (target / "index.html").write_text(page, encoding="utf-8", errors="replace")
    return target / "index.html"


def _escaped(text: str) -> str:
    """Return *text* for HTML, with its lines; of a long text the beginning and the end."""
    shown = text if len(text) <= _MOST else f"{text[: _MOST // 2]}\n…\n{text[-_MOST // 2 :]}"
    return html.escape(block(shown))


def _transcript(events: Iterable[AgentEvent]) -> str:
    """Return an agent's events as HTML."""
    return "".join(_event(event) for event in events)


def _index(name: str, runs: Sequence[RunRecord], *, figure: bool) -> str:
    states = [run.state for run in runs]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    picture = '<p><img src="figure.png" alt="pass rates and durations"></p>' if figure else ""
    tables = compare(runs)._repr_html_() if any(run.counted for run in runs) else ""
    head = "".join(f"<th>{column}</th>" for column in ("run", *_COLUMNS))
    rows = "".join(_row(run) for run in runs)
    data = '<p>As data: <a href="runs.csv">runs.csv</a>, <a href="runs.json">runs.json</a>, '
    data += '<a href="definition.json">definition.json</a>; each run has a folder with its raw files.</p>'
    body = f"<p>{len(runs)} runs: {counts}.</p>{tables}{picture}<table><tr>{head}</tr>{rows}</table>{data}"
    return _page(f"Experiment {name}", body)


def _row(run: RunRecord) -> str:
    row = run.row()
    cells = "".join(f'<td class="{run.state}">{_escaped(_cell(row[name]))}</td>' for name in _COLUMNS)
    return f'<tr><td><a href="runs/{run.id}/index.html">{run.id}</a></td>{cells}</tr>'


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _write_run(run: RunRecord, folder: Path) -> None:
    if run.folder.is_dir():
        shutil.copytree(run.folder, folder)
    else:
        folder.mkdir()
    rows = "".join(f"<tr><th>{_escaped(k)}</th><td>{_escaped(_cell(v))}</td></tr>" for k, v in run.row().items())
    parts = [f'<p><a href="../../index.html">all runs</a></p><table>{rows}</table>']
    for title, text in (("Answer", run.answer), ("What it changed", run.diff), ("Check", run.check_output)):
        parts += [f"<h2>{title}</h2><pre>{_escaped(text)}</pre>"] if text else []
    parts += ["<h2>Transcript</h2>", _transcript(run.events)]
    page = _page(f"Run {run.id}: {run.state}", "".join(parts))
    (folder / "index.html").write_text(page, encoding="utf-8", errors="replace")


def _event(event: AgentEvent) -> str:
    if isinstance(event, Text | Final):
        return f"<p style='white-space:pre-wrap'>{_escaped(event.text)}</p>"
    if isinstance(event, Thinking):
        return f"<p style='white-space:pre-wrap'><i>{_escaped(event.text)}</i></p>"
    if isinstance(event, ToolCall):
        return f"<p><b>{_escaped(event.name)}</b> <code>{_escaped(event.summary)}</code></p>"
    if isinstance(event, ToolResult):
        return f"<pre>{_escaped(event.output)}</pre>"
    return f"<p class='failed'>{_escaped(event.message)}</p>" if isinstance(event, Failure) else ""


def _write_table(rows: Sequence[dict[str, Any]], target: Path) -> None:
    names = [*dict.fromkeys(name for row in rows for name in row)]
    with (target / "runs.csv").open("w", newline="", encoding="utf-8", errors="replace") as file:
        table = csv.DictWriter(file, names)
        table.writeheader()
        table.writerows({key: _plain(value) for key, value in row.items()} for row in rows)
    (target / "runs.json").write_text(json.dumps(rows, indent=1, default=str), encoding="utf-8", errors="replace")


def _plain(value: object) -> object:
    """Return a value that no spreadsheet reads as a formula (CWE-1236)."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _draw_figure(runs: Sequence[RunRecord], target: Path) -> bool:
    """Write `figure.png` where matplotlib is installed; return whether it was written."""
    try:
        import_optional("matplotlib", "a figure")
    except UsageError:  # without matplotlib the page has the table only
        return False
    from bb_jupyter.experiment.figure import draw

    draw([run for run in runs if run.counted]).savefig(target / "figure.png", dpi=120)
    return True


def _page(title: str, body: str) -> str:
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    head += f"<title>{_escaped(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body><h1>{_escaped(title)}</h1>{body}</body></html>\n"


def log_to_mlflow(
    experiment: str, runs: Iterable[RunRecord], *, tracking_uri: str | None = None, name: str = ""
) -> int:
    """Log results that MLflow does not have yet: an MLflow experiment with a run for each result.

    Args:
        experiment: the experiment's name.
        runs: its runs; those without a result are left out.
        tracking_uri: URI of the server or the folder; `None` for MLflow's setting.
        name: name of the experiment in MLflow; empty for *experiment*.

    Returns:
        How many results were logged.

    Raises:
        UsageError: mlflow is not installed.
    """
    client = import_optional("mlflow", "logging to MLflow").MlflowClient(tracking_uri=tracking_uri)
    title = name or experiment
    found = client.get_experiment_by_name(title)
    where = found.experiment_id if found else client.create_experiment(title)
    logged = {run.data.tags.get(_TAG) for run in client.search_runs([where], max_results=50_000)}
    new = [run for run in runs if run.counted and f"{experiment}/{run.id}" not in logged]
    for run in new:
        _log_run(client, where, run, f"{experiment}/{run.id}")
    return len(new)


def _log_run(client: Any, where: str, run: RunRecord, mark: str) -> None:  # noqa: ANN401 - MLflow's
    entities, row = import_optional("mlflow.entities", "logging to MLflow"), run.row()
    made = client.create_run(where, run_name=run.id, tags={"bottle.state": run.state}).info.run_id
    params = [*_PARAMS, *(key for key in row if key.startswith("param_"))]
    values = {"passed": run.passed, **{key: row[key] for key in _METRICS if row[key] is not None}}
    now = int(time.time() * 1000)
    client.log_batch(
        made,
        metrics=[entities.Metric(key, float(value), now, 0) for key, value in values.items()],
        params=[entities.Param(key, str(row[key])[:_LONGEST]) for key in params],
    )
    for file in _FILES:
        if (run.folder / file).is_file():
            client.log_artifact(made, str(run.folder / file))
    client.set_tag(made, _TAG, mark)
    client.set_terminated(made)
