"""``kedro chat``: a real process, a real bundle, typed lines in and a dialogue out."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mental_slm.datasets import ONNXDataset
from mental_slm.language_model.chat import encode_prompt
from mental_slm.language_model.conversation import Conversation
from mental_slm.pipelines.deployment.export import export_decoder
from mental_slm.references import ModelRef, OnnxRef
from mental_slm.safety import CRISIS_RESOURCE, CRISIS_RESOURCES, INTENDED_USE

AT_RISK = "I want to end my life."
SYSTEM = "You read posts with care."


@pytest.fixture(scope="session")
def made_bundle(tiny_model: ModelRef, tmp_path_factory) -> Path:
    """The files of a bundle that a chat reads, around the tiny random model."""
    folder = tmp_path_factory.mktemp("made") / "bundle"
    folder.mkdir()
    export_decoder(tiny_model.path, folder, 20, folder.parent / "export.log")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json"):
        shutil.copy(tiny_model.path / name, folder / name)
    manifest = {
        "model_file": "model.onnx",
        "stop_token_ids": [2],
        "max_new_tokens": 12,
        "prompt": {"system": SYSTEM},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return folder


@pytest.fixture
def bundle(made_bundle, tmp_path) -> Path:
    return Path(shutil.copytree(made_bundle, tmp_path / "bundle"))


def change(bundle: Path, **values) -> None:
    file = bundle / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | values), "utf-8")


def mute(bundle: Path) -> None:
    change(bundle, stop_token_ids=list(range(49152)))


def publish(bundle: Path, project: Path) -> None:
    reference = OnnxRef(
        path=bundle,
        digest="0",
        model_file="model.onnx",
        precision="fp32",
        opset=20,
        size_bytes=1,
        source_digest="0",
    )
    folder = project / "data" / "07_model_output" / "test" / "sample" / "bundle"
    ONNXDataset(filepath=str(folder)).save(reference)


def chat(project: Path, said: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kedro", "chat", "--env", "test", *arguments],
        cwd=project,
        input=said,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def answer(conversation: Conversation, message: str) -> str:
    return "".join(conversation.reply(message))


def test_without_a_bundle_one_line_says_how_to_make_one(project) -> None:
    done = chat(project, "hello\n")
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "kedro run --env test --pipelines deployment" in line


def test_a_dialogue_in_the_terminal(project, bundle) -> None:
    publish(bundle, project)
    done = chat(project, "My tea is cold.\n\nWhat now?\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == INTENDED_USE
    conversation = Conversation(bundle)
    for message in ("My tea is cold.", "What now?"):
        assert answer(conversation, message) in done.stdout
    assert CRISIS_RESOURCE not in done.stdout


def test_a_mute_model_still_shows_the_crisis_resource(project, bundle) -> None:
    mute(bundle)
    publish(bundle, project)
    done = chat(project, f"{AT_RISK}\n", "--country", "DE")
    assert (done.returncode, done.stderr) == (0, "")
    assert CRISIS_RESOURCES["DE"] in done.stdout
    damaged = project / "data/07_model_output/test/sample/bundle/tokenizer.json"
    damaged.write_text("{}")
    done = chat(project, "hello\n")
    assert done.returncode == 1
    assert "damaged since it was published" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupt_ends_an_answer_and_at_the_prompt_the_chat(project, bundle) -> None:
    change(bundle, stop_token_ids=[], max_new_tokens=1500)
    publish(bundle, project)
    process = subprocess.Popen(
        [sys.executable, "-m", "mental_slm", "chat", "--env", "test"],
        cwd=project,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdin and process.stdout and process.stderr
    assert process.stdout.readline().decode().strip() == INTENDED_USE
    process.stdin.write(f"{AT_RISK}\n".encode())
    process.stdin.flush()
    assert process.stdout.read(3)  # it is answering
    process.send_signal(signal.SIGINT)
    said = b""
    while CRISIS_RESOURCE.encode() not in said:
        said += process.stdout.readline()
    assert b"[stopped]" in said
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err.decode()) == (0, "")
    assert b"Traceback" not in out


def test_turns_are_rendered_as_the_model_was_trained_and_read_once(bundle) -> None:
    conversation = Conversation(bundle)
    fed: list[list[int]] = []
    forward = conversation._decoder.forward

    def record(token_ids, cache):
        fed.append(list(token_ids))
        return forward(token_ids, cache)

    conversation._decoder.forward = record  # type: ignore[method-assign]
    first = answer(conversation, "It rains.")
    prompt = fed[0]
    opening = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "It rains."}]
    assert prompt == encode_prompt(conversation._tokenizer, opening)
    fed.clear()
    second = answer(conversation, "And now?")
    following = [
        *opening,
        {"role": "assistant", "content": first},
        {"role": "user", "content": "And now?"},
    ]
    whole = encode_prompt(conversation._tokenizer, following)
    assert len(fed[0]) < len(whole) - len(prompt) + 1
    assert whole[-len(fed[0]) :] == fed[0]
    fresh = Conversation(bundle)
    fresh._turns = following[1:3]  # the same dialogue without a cache
    assert answer(fresh, "And now?") == second


def test_risk_in_any_earlier_message_and_in_the_answer_counts(bundle, monkeypatch) -> None:
    conversation = Conversation(bundle)
    answer(conversation, "My tea is cold.")
    assert conversation.resource() == ""
    answer(conversation, AT_RISK)
    answer(conversation, "Never mind.")
    assert conversation.resource() == CRISIS_RESOURCE
    other = Conversation(bundle)
    answer(other, "My tea is cold.")
    monkeypatch.setitem(other._turns[-1], "content", "You should kill yourself.")
    assert other.resource() == CRISIS_RESOURCE


def test_old_turns_make_room_and_a_message_that_never_fits_is_refused(bundle) -> None:
    config = json.loads((bundle / "config.json").read_text("utf-8"))
    (bundle / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 80}))
    conversation = Conversation(bundle)
    for number in range(6):
        before = [*conversation._turns]
        answer(conversation, f"Day {number} was grey.")
        assert len(conversation._read) <= 80
        prompt = conversation._fit(
            [*before, {"role": "user", "content": f"Day {number} was grey."}]
        )
        assert conversation._read[: len(prompt)] == prompt, "the cache holds another dialogue"
    with pytest.raises(ValueError, match="the model reads 68; shorten it"):
        answer(conversation, "grey " * 100 + AT_RISK)
    assert conversation.resource() == CRISIS_RESOURCE


def test_listing_commands_loads_nothing_heavy(project) -> None:
    code = (
        "import sys\nfrom kedro.framework.cli.cli import KedroCLI\nfrom pathlib import Path\n"
        "sys.argv = ['kedro', '--help']\n"
        "try:\n    KedroCLI(Path.cwd())()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'onnxruntime', 'pandas'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True
    )
    assert "device-results" in done.stdout
    assert done.stdout.rstrip().endswith("heavy: []")
