"""A finished training on record in MLflow, for those who keep one.

Nothing happens unless a tracking URI is given. The small ``mlflow-skinny`` does: the whole package,
and kedro-mlflow with it, does not install beside this project's pandas and pyarrow.
"""

import json
import logging
import os
import time
from typing import Any
from urllib.parse import urlsplit

from mental_slm.references import AdapterRef
from mental_slm.training.options import FineTuningOptions

logger = logging.getLogger(__name__)

URI_VARIABLE = "MLFLOW_TRACKING_URI"

REMEDY = "pip install 'mental-slm[mlflow]'"

#: Metrics that MLflow takes in one request.
BATCH = 1000


def tracking_uri(options: FineTuningOptions) -> str | None:
    """Return where trainings are put on record, None if nowhere. To be called before a training.

    Raises:
        ValueError: The option asks for it, and MLflow is not installed; or the URI holds a password.
    """
    uri = options.mlflow.tracking_uri or os.environ.get(URI_VARIABLE)
    if not uri:
        return None
    if urlsplit(uri).password:
        raise ValueError(
            "fine_tuning.mlflow.tracking_uri: holds a password, which would end in the run "
            "manifest; give it in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    # MLflow 3 reports its use to its makers, unless told not to before it is imported
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        import mlflow  # noqa: F401
    except ImportError as error:
        if options.mlflow.tracking_uri:
            raise ValueError(
                f"fine_tuning.mlflow.tracking_uri: needs MLflow, which is not installed; {REMEDY}"
            ) from error
        logger.info("%s is set, but MLflow is not installed (%s)", URI_VARIABLE, REMEDY)
        return None
    return uri


def record_training(
    uri: str, options: FineTuningOptions, adapter: AdapterRef, log: list[dict[str, Any]]
) -> None:
    """Put a training on record, once per adapter: options, figures of each interval, digests.

    A server that cannot be reached costs nothing but the record: the adapter is on the disk, and
    the next run with the same settings tries again.

    Args:
        uri: From :func:`tracking_uri`.
        options: Of the training.
        adapter: Its result.
        log: One entry per interval, as in ``training_log``.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        client = MlflowClient(tracking_uri=uri)
        experiment = _experiment(client, options.mlflow.experiment)
        known = client.search_runs([experiment], f"tags.adapter_digest = '{adapter.digest}'")
        if known:
            logger.info("MLflow: adapter %s is on record already", adapter.digest)
            return
        run = client.create_run(
            experiment,
            run_name=f"{adapter.base_name} {adapter.digest}",
            tags={
                "adapter_digest": adapter.digest,
                "base_name": adapter.base_name,
                "base_digest": adapter.base_digest,
            },
        ).info.run_id
        _log(client, run, options, log)
        client.set_terminated(run)
        logger.info("MLflow: adapter %s is on record as run %s", adapter.digest, run)
    except (MlflowException, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        logger.warning(
            "MLflow: the training could not be put on record (%s); the adapter is not affected, "
            "and the same command tries again",
            reason,
        )


def _experiment(client: Any, name: str) -> str:
    known = client.get_experiment_by_name(name)
    found: str = known.experiment_id if known else client.create_experiment(name)
    return found


def _log(client: Any, run: str, options: FineTuningOptions, log: list[dict[str, Any]]) -> None:
    from mlflow.entities import Metric, Param

    asked = options.asked()
    lora = {f"lora.{name}": value for name, value in asked.pop("lora").items()}
    params = [Param(name, json.dumps(value)) for name, value in (asked | lora).items()]
    now = int(time.time() * 1000)
    metrics = [
        Metric(name, value, now + position, entry["step"])
        for position, entry in enumerate(log)
        for name, value in entry.items()
        if name != "step"
    ]
    client.log_batch(run, params=params)
    for begin in range(0, len(metrics), BATCH):
        client.log_batch(run, metrics=metrics[begin : begin + BATCH])
