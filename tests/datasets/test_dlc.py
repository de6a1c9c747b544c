"""Containers: made-up ones for every oddity, and real ones made here by onnxruntime-qnn."""

import importlib.util
import json
import platform
import shutil
import zipfile
from pathlib import Path

import pytest
from kedro.io import DatasetError
from killing import run_killed

from mental_slm.datasets import DLCDataset
from mental_slm.datasets.dlc import CHIPS, describe_container, read_member, read_members
from mental_slm.fingerprints import digest_folder
from mental_slm.references import DLCRef

HEADER = bytes.fromhex("d50a040001000000")
IR = {
    "model": HEADER + b"NETD topology",
    "model.params": HEADER + b"NETP table",
    "model.params.bin": bytes(range(256)) * 8000,  # longer than a block
    "dlc.metadata2.3.0": b'{"version": "2.3.0"}',
}
CACHE = {
    "cacheName": "htp.cache.sm8750.0",
    "socModel": 69,
    "buildId": "v2.40",
    "contextMetadata": {"dspArch": 79},
}
PREPARED = {
    "htp.cache.sm8750.0": b"context",
    "htp.shared.weights.ab": b"weights",
    "dlc.metadata2.3.0": json.dumps({"cacheList": [CACHE]}).encode(),
}
HAS_QNN = (
    importlib.util.find_spec("onnxruntime_qnn") is not None
    and platform.system() == "Linux"
    and platform.machine() == "x86_64"
)
NAME = "a.dlc"


def make_dlc(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """Write a zip64 archive with checksums of zero, as the vendor's converter does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            with archive.open(info, "w", force_zip64=True) as member:
                member.write(content)
        entries, directory = archive.infolist(), archive.start_dir
    whole = bytearray(path.read_bytes())
    at = whole.index(b"PK\x01\x02", directory)
    for entry in entries:
        whole[entry.header_offset + 14 : entry.header_offset + 18] = bytes(4)
        whole[at + 16 : at + 20] = bytes(4)
        lengths = [int.from_bytes(whole[at + n : at + n + 2], "little") for n in (28, 30, 32)]
        at += 46 + sum(lengths)
    path.write_bytes(whole)
    return path


def reference(folder: Path, skipped_because: str = "", soc: str = "sm8750") -> DLCRef:
    return DLCRef(
        path=folder,
        digest=digest_folder(folder) if folder.is_dir() else "",
        soc=soc,
        source_digest="0" * 16,
        skipped_because=skipped_because,
    )


@pytest.fixture(scope="session")
def real_containers(tmp_path_factory) -> Path:
    """A converted container and one compiled for each of two chips, of a net of one layer."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from mental_slm.pipelines.deployment.npu.child import run_worker

    folder = tmp_path_factory.mktemp("real")
    weight = numpy_helper.from_array(np.ones((8, 8, 1, 1), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 1, 4])],
        [weight],
    )
    opset = helper.make_opsetid("", 20)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), folder / "g.onnx")
    job = {"graph": str(folder / "g.onnx")}
    ir = {"task": "convert", "target": str(folder / "ir.dlc")}
    run_worker("convert", {**job, **ir}, folder / "log", 120)
    for soc in ("sm8750", "sm8650"):
        chip = {"soc_model": CHIPS[soc].soc_model, "htp_arch": CHIPS[soc].htp_arch}
        target = {"task": "prepare", "target": str(folder / f"{soc}.dlc"), "container": True}
        run_worker(soc, {**job, **target, **chip}, folder / "log", 120)
    return folder


@pytest.fixture(
    params=[
        "made up",
        pytest.param(
            "ir",
            marks=[pytest.mark.optional, pytest.mark.skipif(not HAS_QNN, reason="extra qualcomm")],
        ),
        pytest.param(
            "sm8750",
            marks=[pytest.mark.optional, pytest.mark.skipif(not HAS_QNN, reason="extra qualcomm")],
        ),
    ]
)
def dlc(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """One container in a folder of its own."""
    path = tmp_path / "work" / NAME
    if request.param == "made up":
        return make_dlc(path, IR)
    path.parent.mkdir()
    real = request.getfixturevalue("real_containers")
    return Path(shutil.copy(real / f"{request.param}.dlc", path))


@pytest.fixture
def dataset(tmp_path: Path) -> DLCDataset:
    return DLCDataset(filepath=tmp_path / "models" / "dlc", made_by="deployment")


def members_of(path: Path) -> dict[str, bytes]:
    return {member.name: read_member(path, member.name) for member in read_members(path)}


def test_a_container_is_a_zip_that_zipfile_cannot_read(dlc: Path) -> None:
    with zipfile.ZipFile(dlc) as archive:
        assert {entry.CRC for entry in archive.infolist()} == {0}
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.testzip() is not None


def test_members_are_read_without_the_sdk(tmp_path: Path) -> None:
    path = make_dlc(tmp_path / NAME, IR)
    assert members_of(path) == IR
    with pytest.raises(KeyError):
        read_member(path, "none")


@pytest.mark.parametrize(
    ("members", "kind"), [(IR, "ir"), (PREPARED, "prepared"), (IR | PREPARED, "mixed")]
)
def test_kinds(tmp_path: Path, members: dict[str, bytes], kind: str) -> None:
    facts = describe_container(make_dlc(tmp_path / NAME, members))
    assert facts["kind"] == kind
    assert len(facts["members"]) == len(members)
    if kind == "prepared":
        (cache,) = facts["caches"]
        assert (cache["name"], cache["soc_model"], cache["dsp_arch"], cache["build_id"]) == (
            "htp.cache.sm8750.0",
            69,
            79,
            "v2.40",
        )


@pytest.mark.optional
@pytest.mark.skipif(not HAS_QNN, reason="extra qualcomm")
def test_real_containers_say_what_they_are(real_containers: Path) -> None:
    ir = describe_container(real_containers / "ir.dlc")
    assert (ir["kind"], ir["caches"]) == ("ir", [])
    assert ir["made_with"][0]["version"].startswith("2.")
    assert {"model", "model.params", "model.params.bin"} <= {m["name"] for m in ir["members"]}
    for soc, chip in (("sm8750", (69, 79)), ("sm8650", (57, 75))):
        facts = describe_container(real_containers / f"{soc}.dlc")
        (cache,) = facts["caches"]
        assert facts["kind"] == "prepared"
        assert cache["name"] == f"htp.cache.{soc}.0"
        assert (cache["soc_model"], cache["dsp_arch"]) == chip
        assert cache["graphs"][0]["inputs"] == ["x: float_32[1, 8, 1, 4]"]
        assert cache["graphs"][0]["outputs"] == ["y: float_32[1, 8, 1, 4]"]


@pytest.mark.optional
@pytest.mark.skipif(not HAS_QNN, reason="extra qualcomm")
def test_another_chip_is_refused(dataset, real_containers: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    shutil.copy(real_containers / "sm8650.dlc", folder)
    with pytest.raises(DatasetError, match=r"compiled for sm8650 \(soc_model 57.*not for sm8750"):
        dataset.save(reference(folder))
    dataset.save(reference(folder, soc="sm8650"))
    shutil.copy(real_containers / "sm8750.dlc", folder)
    dataset.save(reference(folder, soc="sm8650,sm8750"))


def test_older_metadata_is_no_json(tmp_path: Path) -> None:
    members = {"model": HEADER, "model.params": HEADER, "dlc.metadata": b"converter-version=1"}
    assert describe_container(make_dlc(tmp_path / NAME, members))["kind"] == "ir"


def test_publishes_the_same_bytes(dataset: DLCDataset, dlc: Path, tmp_path: Path) -> None:
    content = dlc.read_bytes()
    (dlc.parent / "sm8750").mkdir()
    shutil.copy(dlc, dlc.parent / "sm8750" / "b.dlc")
    (dlc.parent / "manifest.json").write_text("{}")
    dataset.save(reference(dlc.parent))
    loaded = dataset.load()
    assert loaded == reference(dlc.parent).at(tmp_path / "models" / "dlc")
    assert (loaded.path / "sm8750" / "b.dlc").read_bytes() == content
    dataset.save(loaded)
    assert dataset.load() == loaded
    shown = json.loads(dataset.preview())
    assert set(shown["containers"]) == {NAME, "sm8750/b.dlc"}
    assert shown["containers"][NAME]["kind"] in ("ir", "prepared")
    (loaded.path / "manifest.json").write_text("[]")
    with pytest.raises(DatasetError, match=r"manifest.json: not as it was published"):
        dataset.load()


def test_a_skipped_step_is_a_plain_statement(dataset: DLCDataset, tmp_path: Path) -> None:
    dataset.save(reference(make_dlc(tmp_path / "work" / NAME, IR).parent))
    empty = tmp_path / "none"
    empty.mkdir()
    (empty / "convert.sh").write_text("#!/bin/sh\n")
    dataset.save(reference(empty, skipped_because="qairt-converter is not on PATH"))
    assert dataset.exists()
    assert dataset.load().skipped_because == "qairt-converter is not on PATH"
    names = {path.name for path in dataset.load().path.iterdir()}
    assert names == {"reference.json", "convert.sh"}
    assert "not on PATH" in json.loads(dataset.preview())["skipped_because"]


def test_no_container_and_no_reason_is_refused(dataset: DLCDataset, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    with pytest.raises(DatasetError, match="say why in skipped_because"):
        dataset.save(reference(tmp_path / "work"))
    with pytest.raises(DatasetError, match="no such folder"):
        dataset.save(reference(tmp_path / "gone"))


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def replaced_by_text(path: Path) -> None:
    path.write_text("this is no container\n" * 99)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def damaged_header(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[0] ^= 1
    path.write_bytes(whole)


def packed(path: Path) -> None:
    make_dlc(path, members_of(path), zipfile.ZIP_DEFLATED)


def with_member(name: str):
    def damage(path: Path) -> None:
        make_dlc(path, {**members_of(path), name: b"x"})

    return damage


def repeated_name(path: Path) -> None:
    make_dlc(path, {**members_of(path), "modem": b"y", "mody": b"z", "model": b"x"})
    path.write_bytes(path.read_bytes().replace(b"modem", b"model"))


def without_model(path: Path) -> None:
    make_dlc(path, {"dlc.metadata2.3.0": b"{}", "weights": b"x"})


def without_metadata(path: Path) -> None:
    make_dlc(path, {name: c for name, c in members_of(path).items() if "dlc.metadata" not in name})


def damaged_metadata(path: Path) -> None:
    make_dlc(path, {**members_of(path), "dlc.metadata2.3.0": b'{"cacheList": ['})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncated, "cut off or no DLC"),
        (replaced_by_text, "cut off or no DLC"),
        (emptied, "cut off or no DLC"),
        (damaged_header, "header is damaged"),
        (packed, "is compressed"),
        (with_member("/etc/passwd"), "path of its own"),
        (with_member("../../x"), "path of its own"),
        (with_member("a\\b"), "path of its own"),
        (repeated_name, "two members are called model"),
        (without_model, "neither a model nor a prepared cache"),
        (without_metadata, "dlc.metadata"),
        (damaged_metadata, "dlc.metadata2.3.0 is damaged"),
    ],
)
def test_damage_is_refused_on_save(dataset: DLCDataset, dlc: Path, damage, words: str) -> None:
    dataset.save(reference(dlc.parent))
    before = dataset.load()
    damage(dlc)
    with pytest.raises(DatasetError, match=f"{NAME}.*{words}|{words}"):
        dataset.save(reference(dlc.parent))
    assert dataset.load() == before


def flipped_byte(path: Path) -> None:
    """Flip one bit in the middle of the largest member, which nothing but a digest notices."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    content = read_member(path, largest.filename)
    whole = bytearray(path.read_bytes())
    whole[whole.index(content) + len(content) // 2] ^= 1
    path.write_bytes(whole)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flipped_byte, f"{NAME}: not as it was published: "),
        (truncated, "bytes instead of"),
        (packed, "bytes instead of"),
        (with_member("extra"), "bytes instead of"),
        (Path.unlink, "is missing"),
    ],
)
def test_damage_is_named_on_load(dataset: DLCDataset, dlc: Path, damage, words: str) -> None:
    dataset.save(reference(dlc.parent))
    damage(dataset.load().path / NAME)
    with pytest.raises(DatasetError, match=f"{words}.*kedro run --pipelines deployment"):
        dataset.load()


def test_a_flipped_bit_opens_as_if_nothing_were_wrong(dlc: Path) -> None:
    before = describe_container(dlc)
    flipped_byte(dlc)
    after = describe_container(dlc)
    assert {**after, "members": 0} == {**before, "members": 0}
    assert after["members"] != before["members"]


def test_killed_at_every_step(dataset: DLCDataset, tmp_path: Path) -> None:
    old = reference(make_dlc(tmp_path / "old" / "old.dlc", IR).parent)
    new = reference(make_dlc(tmp_path / "new" / "new.dlc", PREPARED).parent)
    step, seen = 0, []
    while True:
        dataset.save(old)
        if not run_killed(lambda: dataset.save(new), step):
            break
        seen += [path.name for path in dataset.load().path.glob("*.dlc")]
        step += 1
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {"old.dlc", "new.dlc"}
