"""Results logged to MLflow, for those who keep theirs there: an experiment with a run for each result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bb_jupyter.experiment.compare import needed

if TYPE_CHECKING:
    from bb_jupyter.experiment.experiment import Experiment

_FILES = ("events.jsonl", "workspace.diff", "check.txt", "egress.jsonl")


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
    mlflow = needed("mlflow", "logging to MLflow")
    client = mlflow.MlflowClient(tracking_uri=tracking_uri)
    title = name or experiment.name
    found = client.get_experiment_by_name(title)
    where = found.experiment_id if found else client.create_experiment(title)
    logged = {run.data.tags.get("bottle.run") for run in client.search_runs([where], max_results=50_000)}
    new = [run for run in experiment.runs() if run.counted and f"{experiment.name}/{run.id}" not in logged]
    for run in new:
        row = run.row()
        tags = {"bottle.run": f"{experiment.name}/{run.id}", "bottle.state": run.state}
        made = client.create_run(where, run_name=run.id, tags=tags).info.run_id
        for key in ("agent", "prompt", "bottle", "repeat", "seed", *(k for k in row if k.startswith("param_"))):
            client.log_param(made, key, row[key])
        client.log_metric(made, "passed", float(run.passed))
        for key in ("score", "seconds", "input_tokens", "output_tokens", "turns", "cost", "requests", "denied"):
            if row[key] is not None:
                client.log_metric(made, key, float(row[key]))
        for file in _FILES:
            if (run.folder / file).is_file():
                client.log_artifact(made, str(run.folder / file))
        client.set_terminated(made)
    return len(new)
