"""Results logged to MLflow, for those who keep theirs there: an experiment with a run for each result."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bb_jupyter.experiment.compare import needed
from bb_jupyter.experiment.record import RunRecord

if TYPE_CHECKING:
    from bb_jupyter.experiment.experiment import Experiment

_FILES = ("events.jsonl", "workspace.diff", "check.txt", "egress.jsonl")
_PARAMS = ("agent", "prompt", "bottle", "repeat", "seed")
_METRICS = ("score", "seconds", "input_tokens", "output_tokens", "turns", "cost", "requests", "denied")
#: Tells which run it is; set last, so that what was cut short is logged anew.
_TAG = "bottle.run"
#: Longest value of a parameter that every version takes, in characters.
_LONGEST = 500


def log(experiment: Experiment, *, tracking_uri: str | None = None, name: str = "") -> int:
    """Log every result that is not there yet.

    Args:
        experiment: whose results.
        tracking_uri: of the server or the folder; `None` for the one that is set.
        name: of the experiment in MLflow; empty for its own.

    Returns:
        How many were logged.

    Raises:
        UsageError: mlflow is not installed.
    """
    client = needed("mlflow", "logging to MLflow").MlflowClient(tracking_uri=tracking_uri)
    title = name or experiment.name
    found = client.get_experiment_by_name(title)
    where = found.experiment_id if found else client.create_experiment(title)
    logged = {run.data.tags.get(_TAG) for run in client.search_runs([where], max_results=50_000)}
    new = [run for run in experiment.runs() if run.counted and f"{experiment.name}/{run.id}" not in logged]
    for run in new:
        _log_run(client, where, run, f"{experiment.name}/{run.id}")
    return len(new)


def _log_run(client: Any, where: str, run: RunRecord, mark: str) -> None:  # noqa: ANN401 - MLflow's
    entities, row = needed("mlflow.entities", "logging to MLflow"), run.row()
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
