import json
import zipfile
from pathlib import Path

import pytest
from kedro.io import DatasetError
from killing import run_killed

from mental_slm.datasets import DLCDataset
from mental_slm.datasets.dlc import describe_container, read_member, read_members
from mental_slm.fingerprints import digest_file
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


def reference(path: Path, skipped_because: str = "") -> DLCRef:
    digest = "" if skipped_because else digest_file(path)[:16]
    return DLCRef(
        path=path,
        digest=digest,
        soc="sm8750",
        source_digest="0" * 16,
        skipped_because=skipped_because,
    )


@pytest.fixture
def dataset(tmp_path: Path) -> DLCDataset:
    return DLCDataset(filepath=tmp_path / "models" / "dlc", made_by="deployment")


@pytest.fixture
def dlc(tmp_path: Path) -> Path:
    return make_dlc(tmp_path / "work" / "model.dlc", IR)


def test_the_made_up_file_is_like_a_real_one(dlc: Path) -> None:
    with zipfile.ZipFile(dlc) as archive:
        assert {entry.CRC for entry in archive.infolist()} == {0}
        assert archive.testzip() == "model", "zipfile itself cannot read it"


def test_members_are_read_without_the_sdk(dlc: Path) -> None:
    assert {member.name: member.size for member in read_members(dlc)} == {
        name: len(content) for name, content in IR.items()
    }
    for name, content in IR.items():
        assert read_member(dlc, name) == content
    with pytest.raises(KeyError):
        read_member(dlc, "none")


@pytest.mark.parametrize(
    ("members", "kind"), [(IR, "ir"), (PREPARED, "prepared"), (IR | PREPARED, "mixed")]
)
def test_kinds(tmp_path: Path, members: dict[str, bytes], kind: str) -> None:
    facts = describe_container(make_dlc(tmp_path / "a.dlc", members))
    assert facts["kind"] == kind
    assert len(facts["members"]) == len(members)
    if kind == "prepared":
        assert facts["caches"] == [
            {
                "name": "htp.cache.sm8750.0",
                "soc_model": 69,
                "dsp_arch": 79,
                "build_id": "v2.40",
            }
        ]


def test_older_metadata_is_no_json(tmp_path: Path) -> None:
    members = {"model": HEADER, "model.params": HEADER, "dlc.metadata": b"converter-version=1"}
    assert describe_container(make_dlc(tmp_path / "a.dlc", members))["kind"] == "ir"


def test_publishes_the_same_bytes(dataset: DLCDataset, dlc: Path, tmp_path: Path) -> None:
    content = dlc.read_bytes()
    dataset.save(reference(dlc))
    loaded = dataset.load()
    assert loaded == reference(dlc).at(tmp_path / "models" / "dlc" / "model.dlc")
    assert loaded.path.read_bytes() == content
    dataset.save(loaded)
    assert dataset.load() == loaded
    assert json.loads(dataset.preview())["kind"] == "ir"


def test_a_skipped_step_is_a_plain_statement(
    dataset: DLCDataset, dlc: Path, tmp_path: Path
) -> None:
    dataset.save(reference(dlc))
    dataset.save(reference(tmp_path / "none", skipped_because="qairt-converter is not installed"))
    assert dataset.exists()
    assert dataset.load().skipped_because == "qairt-converter is not installed"
    assert [path.name for path in dataset.load().path.iterdir()] == ["reference.json"]
    assert "not installed" in json.loads(dataset.preview())["skipped_because"]


def test_no_file_and_no_reason_is_refused(dataset: DLCDataset, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="say why in skipped_because"):
        dataset.save(reference(make_dlc(tmp_path / "a.dlc", IR)).at(tmp_path / "none.dlc"))


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
    make_dlc(path, IR, zipfile.ZIP_DEFLATED)


def absolute_name(path: Path) -> None:
    make_dlc(path, {**IR, "/etc/passwd": b"x"})


def climbing_name(path: Path) -> None:
    make_dlc(path, {**IR, "../../x": b"x"})


def windows_name(path: Path) -> None:
    make_dlc(path, {**IR, "a\\b": b"x"})


def repeated_name(path: Path) -> None:
    make_dlc(path, {**IR, "modem": b"y"})
    path.write_bytes(path.read_bytes().replace(b"modem", b"model"))


def without_model(path: Path) -> None:
    make_dlc(path, {"dlc.metadata2.3.0": b"{}", "weights": b"x"})


def without_metadata(path: Path) -> None:
    make_dlc(path, {name: content for name, content in IR.items() if "metadata" not in name})


def damaged_metadata(path: Path) -> None:
    make_dlc(path, {**IR, "dlc.metadata2.3.0": b'{"cacheList": ['})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncated, "cut off or no DLC"),
        (replaced_by_text, "cut off or no DLC"),
        (emptied, "cut off or no DLC"),
        (damaged_header, "header is damaged"),
        (packed, "is compressed"),
        (absolute_name, "path of its own"),
        (climbing_name, "path of its own"),
        (windows_name, "path of its own"),
        (repeated_name, "two members are called model"),
        (without_model, "neither a model nor a prepared cache"),
        (without_metadata, "dlc.metadata"),
        (damaged_metadata, "dlc.metadata2.3.0 is damaged"),
    ],
)
def test_damage_is_refused_on_save(dataset: DLCDataset, dlc: Path, damage, words: str) -> None:
    dataset.save(reference(dlc))
    before = dataset.load()
    damage(dlc)
    with pytest.raises(DatasetError, match=words):
        dataset.save(reference(dlc))
    assert dataset.load() == before


def flipped_byte(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)


def changed_weights(path: Path) -> None:
    make_dlc(path, {**IR, "model.params.bin": bytes(reversed(IR["model.params.bin"]))})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flipped_byte, "not as it was published: model.params.bin"),
        (changed_weights, "not as it was published: model.params.bin"),
        (truncated, "bytes instead of"),
        (packed, "bytes instead of"),
        (lambda path: make_dlc(path, {**IR, "extra": b"x"}), "bytes instead of"),
        (Path.unlink, "is missing"),
    ],
)
def test_damage_is_named_on_load(dataset: DLCDataset, dlc: Path, damage, words: str) -> None:
    dataset.save(reference(dlc))
    damage(dataset.load().path)
    with pytest.raises(DatasetError, match=f"{words}.*kedro run --pipelines deployment"):
        dataset.load()


def test_killed_at_every_step(dataset: DLCDataset, tmp_path: Path) -> None:
    old = reference(make_dlc(tmp_path / "old.dlc", IR))
    new = reference(make_dlc(tmp_path / "new.dlc", PREPARED))
    step, seen = 0, []
    while True:
        dataset.save(old)
        if not run_killed(lambda: dataset.save(new), step):
            break
        seen.append(dataset.load().path.name)
        step += 1
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {"old.dlc", "new.dlc"}
