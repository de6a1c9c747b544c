"""The record in MLflow: off unless asked for, once per adapter, no word to anybody else."""

import importlib.util
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from mental_slm.pipelines.fine_tuning.tracking import record_training, tracking_uri
from mental_slm.references import AdapterRef
from mental_slm.training.options import FineTuningOptions

LOG = [
    {"step": 1, "loss": 2.5, "learning_rate": 1e-3, "tokens": 90},
    {"step": 2, "loss": 2.0, "learning_rate": 5e-4, "tokens": 95},
    {"step": 2, "validation_loss": 2.25},
]
ADAPTER = AdapterRef(
    path=Path("adapter"),
    digest="0123456789abcdef",
    base_name="tiny",
    base_digest="fedcba9876543210",
    validation_loss=2.25,
)

#: Records and tells every address that a socket connects to.
LISTENER = """
import json, sys
addresses = []
def listen(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        addresses.append(str(arguments[1:]))
sys.addaudithook(listen)
from mental_slm.pipelines.fine_tuning.tracking import record_training, tracking_uri
from mental_slm.references import AdapterRef
from mental_slm.training.options import FineTuningOptions
options = FineTuningOptions(mlflow={"tracking_uri": sys.argv[1]})
adapter = AdapterRef.from_json(json.loads(sys.argv[2]))
record_training(tracking_uri(options), options, adapter, json.loads(sys.argv[3]))
import time; time.sleep(1)  # what a thread in the background would say
print(json.dumps(addresses))
"""

needs_mlflow = [
    pytest.mark.optional,
    pytest.mark.skipif(not importlib.util.find_spec("mlflow"), reason="needs the extra mlflow"),
]


def asked(**mlflow) -> FineTuningOptions:
    return FineTuningOptions(mlflow=mlflow)


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_nothing_is_recorded_and_nothing_imported_unless_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)  # an import would raise
    assert tracking_uri(FineTuningOptions()) is None


def test_asked_for_without_mlflow_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ValueError, match=r"tracking_uri: needs MLflow.*pip install 'mental-slm\[m"):
        tracking_uri(asked(tracking_uri="sqlite:///x.db"))


def test_a_variable_of_another_project_stops_nothing(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert tracking_uri(FineTuningOptions()) is None
    assert "MLFLOW_TRACKING_URI is set, but MLflow is not installed" in caplog.text


def test_a_password_in_the_uri_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match="holds a password") as error:
        tracking_uri(asked(tracking_uri="https://me:hunter2@host/"))
    assert "hunter2" not in str(error.value)


class TestWithMlflow:
    pytestmark = needs_mlflow

    @pytest.fixture
    def uri(self, tmp_path) -> str:
        return f"sqlite:///{tmp_path / 'mlflow.db'}"

    def runs(self, uri: str, experiment: str = "mental-slm") -> list:
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=uri)
        return client.search_runs([client.get_experiment_by_name(experiment).experiment_id])

    def test_a_training_is_on_record_with_its_course_options_and_digests(self, uri):
        from mlflow.tracking import MlflowClient

        options = FineTuningOptions(mlflow={"tracking_uri": uri}, lora={"r": 8})
        assert tracking_uri(options) == uri
        record_training(uri, options, ADAPTER, LOG)
        (run,) = self.runs(uri)
        assert run.info.status == "FINISHED"
        assert run.data.tags["adapter_digest"] == ADAPTER.digest
        assert run.data.tags["base_digest"] == ADAPTER.base_digest
        assert run.data.params["lora.r"] == "8"
        assert run.data.params["learning_rate"] == "0.001"
        history = MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, "loss")
        assert [(point.step, point.value) for point in history] == [(1, 2.5), (2, 2.0)]
        assert run.data.metrics["validation_loss"] == 2.25

    def test_an_adapter_is_recorded_once(self, uri, caplog):
        caplog.set_level(logging.INFO)
        options = asked(tracking_uri=uri, experiment="mine")
        for _ in range(2):
            record_training(uri, options, ADAPTER, LOG)
        assert len(self.runs(uri, "mine")) == 1
        assert "is on record already" in caplog.text

    def test_a_store_that_cannot_be_had_costs_only_the_record(self, tmp_path, caplog):
        file = tmp_path / "file"
        file.write_text("")
        uri = f"file://{file}"
        record_training(uri, asked(tracking_uri=uri), ADAPTER, LOG)
        assert "could not be put on record" in caplog.text
        assert "the adapter is not affected" in caplog.text

    def test_nobody_else_is_told(self, uri):
        command = [
            sys.executable,
            "-c",
            LISTENER,
            uri,
            json.dumps(ADAPTER.to_json()),
            json.dumps(LOG),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        assert json.loads(done.stdout.splitlines()[-1]) == []
        assert len(self.runs(uri)) == 1
