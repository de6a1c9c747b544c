"""The calibration set: drawn from training rows, real caches, and every damage has a name."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mental_slm.pipelines.deployment.npu.calibration import (
    CalibrationDamaged,
    draw_rows,
    read_samples,
)
from mental_slm.pipelines.deployment.npu.nodes import collect_calibration

GRAPH = "part1_prompt"


@pytest.fixture
def calibration(npu_line, tmp_path: Path) -> Path:
    return Path(shutil.copytree(npu_line.workspace / "calibration" / "made", tmp_path / "set"))


def read(calibration: Path, npu_line) -> list[dict[str, np.ndarray]]:
    return list(read_samples(calibration, npu_line.static.path / f"{GRAPH}.onnx"))


def test_rows_come_evenly_from_all_tasks(make_pairs) -> None:
    pairs = make_pairs(50)
    drawn = draw_rows(pairs, 8, seed=1)
    counts = [sum(row["task"] == task for row in drawn) for task in {p["task"] for p in pairs}]
    assert max(counts) - min(counts) <= 1
    assert drawn == draw_rows(pairs[::-1], 8, seed=1)
    assert drawn != draw_rows(pairs, 8, seed=2)
    assert len({row["pair_id"] for row in draw_rows(pairs, 99, seed=1)}) == 50
    with pytest.raises(ValueError, match="pairs_train: no pair has a response"):
        draw_rows([{**pairs[0], "response": ""}], 1, seed=1)


def test_a_set_says_what_it_holds(npu_line, calibration: Path) -> None:
    manifest = npu_line.calibration
    assert manifest["split"] == "train"
    assert len(manifest["rows"]) == 3 == sum(manifest["tasks"].values())
    assert set(manifest["graphs"]) == {f"part{p}_{k}" for p in (0, 1) for k in ("prompt", "decode")}
    assert manifest["graphs"][GRAPH]["samples"] == 6  # two blocks of three rows
    assert manifest["graphs"]["part0_prompt"]["inputs"]["input_ids"] == {
        "dtype": "int32",
        "shape": [1, 16],
    }
    lines = (calibration / GRAPH / "input_list.txt").read_text().splitlines()
    assert lines[1].startswith("hidden_1:=001/hidden_1.raw ")
    assert (calibration / GRAPH / "001" / "past_key_1.raw").stat().st_size == 2 * 16 * 48 * 4
    text = json.dumps(manifest)
    assert str(npu_line.workspace) not in text
    assert "notes" not in text, "a word of the made-up posts"


def test_samples_carry_the_cache_that_the_model_computed(npu_line, calibration: Path) -> None:
    """The second block's cache is what the first block returned."""
    import onnxruntime

    graph = npu_line.static.path / f"{GRAPH}.onnx"
    first, second = read(calibration, npu_line)[:2]
    session = onnxruntime.InferenceSession(str(graph))
    _, key, value = session.run(None, first)
    assert not first["past_key_1"].any()
    assert np.array_equal(second["past_key_1"][..., :16], key)
    assert np.array_equal(second["past_value_1"][:, :, :16], value)
    assert not second["past_key_1"][..., 16:].any()
    assert (second["mask"][0, 0, 0] == 0).sum() == 17


def test_the_same_rows_give_the_same_files(
    npu_line, options, one_thread, make_pairs, tmp_path: Path
) -> None:
    again = collect_calibration(
        npu_line.static, npu_line.model, make_pairs(10)[::-1], options, one_thread, tmp_path
    )
    assert again == npu_line.calibration


def change_line(folder: Path, old: str, new: str) -> None:
    path = folder / GRAPH / "input_list.txt"
    path.write_text(path.read_text().replace(old, new, 1))


def absolute_path(folder: Path) -> None:
    change_line(folder, "mask:=000", "mask:=/data/000")


def climbing_path(folder: Path) -> None:
    change_line(folder, "mask:=000", "mask:=../000")


def no_name(folder: Path) -> None:
    change_line(folder, "mask:=000", "000")


def unknown_name(folder: Path) -> None:
    change_line(folder, "mask:=000", "masks:=000")


def input_left_out(folder: Path) -> None:
    change_line(folder, "mask:=000/mask.raw ", "")


def missing_file(folder: Path) -> None:
    (folder / GRAPH / "000" / "mask.raw").unlink()


def other_width(folder: Path) -> None:
    path = folder / GRAPH / "000" / "mask.raw"
    np.fromfile(path, np.float32).astype(np.float16).tofile(path)


def other_content(folder: Path) -> None:
    path = folder / GRAPH / "000" / "mask.raw"
    np.fromfile(path, np.float32).astype(np.int32).tofile(path)  # as many bytes as before


def other_dtype_noted(folder: Path) -> None:
    path = folder / "calibration.json"
    manifest = json.loads(path.read_text())
    manifest["graphs"][GRAPH]["inputs"]["mask"]["dtype"] = "int32"
    path.write_text(json.dumps(manifest))


def list_gone(folder: Path) -> None:
    (folder / GRAPH / "input_list.txt").unlink()


def manifest_cut(folder: Path) -> None:
    path = folder / "calibration.json"
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (absolute_path, r"input_list.txt, line 1: the path of mask must be relative"),
        (climbing_path, r"line 1: the path of mask must be relative .* and stay below"),
        (no_name, r"line 1: .* is not name:=path"),
        (unknown_name, r"line 1: part1_prompt has no input masks"),
        (input_left_out, r"line 1: nothing for the input mask"),
        (missing_file, r"line 1: mask.raw is missing"),
        (other_width, r"mask.raw has 2048 bytes, float32\[1, 1, 16, 64\] needs 4096.*dtype"),
        (other_content, r"mask.raw is not the file of the manifest"),
        (other_dtype_noted, r"takes mask as float32\[1, 1, 16, 64\], the set holds int32"),
        (list_gone, r"input_list.txt is missing"),
        (manifest_cut, r"calibration.json: damaged"),
    ],
)
def test_damage_is_named(damage, words: str, npu_line, calibration: Path) -> None:
    assert len(read(calibration, npu_line)) == 6
    damage(calibration)
    with pytest.raises(CalibrationDamaged, match=words):
        read(calibration, npu_line)
