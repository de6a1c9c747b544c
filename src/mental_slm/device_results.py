"""Speeds measured on a phone: the file that a bundle's ``measure.sh`` writes, checked and compared.

A file is refused where its numbers cannot be: another bundle's models, speeds that are no numbers,
or more bytes per second than the phone's memory can deliver.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Device(_Part):
    """The phone, as Android describes it."""

    maker: str = Field(min_length=1, description="ro.product.manufacturer")
    model: str = Field(min_length=1, description="ro.product.model, for example SM-S931B")
    soc: str = Field(description="ro.soc.model, for example SM8750")
    android: str = Field(min_length=1, description="Release of Android.")
    memory_kb: float | None = Field(gt=0, description="MemTotal of /proc/meminfo.")


class BenchRow(BaseModel):
    """One test of llama-bench; it writes more than is read here."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    n_prompt: int = Field(ge=0, description="Tokens read; 0 in a test of decoding.")
    n_gen: int = Field(ge=0, description="Tokens decoded; 0 in a test of reading.")
    n_threads: int = Field(ge=1, description="CPU threads.")
    avg_ts: float = Field(gt=0, description="Tokens per second, mean over repetitions.")
    stddev_ts: float = Field(ge=0, description="Its standard deviation.")
    build_commit: str = Field(description="Commit of llama.cpp.")


class GgufRun(_Part):
    """One GGUF file in llama.cpp."""

    file: str = Field(description="Path in the bundle.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="Of the file that was measured.")
    peak_memory_kb: float | None = Field(ge=0, description="VmHWM of the process.")
    rows: list[BenchRow] = Field(min_length=1, description="llama-bench's own output.")


class NpuRun(_Part):
    """One compiled container on the NPU."""

    file: str = Field(description="Path in the bundle.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="Of the file that was measured.")
    runs_per_s: float | None = Field(gt=0, description="Runs of the graph per second.")


class DeviceResults(_Part):
    """What one run of ``measure.sh`` found."""

    format: Literal["mental-slm device results 1"] = Field(description="Name and version.")
    measured_at: str = Field(description="UTC time, ISO 8601.")
    manifest_sha256: str = Field(pattern="^[0-9a-f]{64}$", description="Of the bundle's manifest.")
    device: Device = Field(description="The phone.")
    battery_tenths_celsius_before: float | None = Field(description="A warm phone is a slow one.")
    battery_tenths_celsius_after: float | None = Field(description="After the last model.")
    gguf: list[GgufRun] = Field(description="GGUF files, on the CPU.")
    npu: list[NpuRun] = Field(description="Containers, on the NPU.")


class DeviceResultsRefused(ValueError):
    """A results file cannot be what it says; the message says why."""


def read_results(path: Path) -> DeviceResults:
    """Read and check a file.

    Raises:
        DeviceResultsRefused: It is missing, no JSON, or a value is impossible; one line per value.
    """
    try:
        return DeviceResults.model_validate(json.loads(path.read_text("utf-8")))
    except FileNotFoundError as error:
        raise DeviceResultsRefused(
            f"{path}: no such file; a bundle's measure.sh makes it"
        ) from error
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise DeviceResultsRefused(f"{path}: {'; '.join(wrong)}") from error
    except ValueError as error:
        raise DeviceResultsRefused(f"{path}: no JSON ({error}); measure again") from error


def compare_results(
    results: DeviceResults, manifest: Mapping[str, Any], anchors: Mapping[str, Any]
) -> str:
    """Check that the results are of this bundle and possible, and set them beside published ones.

    Args:
        results: From :func:`read_results`.
        manifest: Of the bundle.
        anchors: ``conf/base/device_anchors.yml``.

    Returns:
        A table in Markdown.

    Raises:
        DeviceResultsRefused: Another bundle's files, or impossible speeds.
    """
    files = manifest["files"]
    if not (results.gguf or results.npu):
        raise DeviceResultsRefused("nothing was measured: neither a GGUF file nor a container")
    lines = [
        f"{results.device.maker} {results.device.model} ({results.device.soc}), "
        f"Android {results.device.android}, {results.measured_at}",
        "",
        "| unit | file | prompt tokens/s | decode tokens/s | memory traffic GB/s | peak MB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for gguf in results.gguf:
        _check_file(gguf.file, gguf.sha256, files)
        read = next((row.avg_ts for row in gguf.rows if row.n_prompt and not row.n_gen), None)
        decode = next((row.avg_ts for row in gguf.rows if row.n_gen and not row.n_prompt), None)
        traffic = _traffic(gguf.file, decode, files, anchors)
        peak = None if gguf.peak_memory_kb is None else gguf.peak_memory_kb / 1000
        cells = [_show(number) for number in (read, decode, traffic, peak)]
        lines.append(f"| cpu | {gguf.file} | {' | '.join(cells)} |")
    for npu in results.npu:
        _check_file(npu.file, npu.sha256, files)
        lines.append(f"| npu | {npu.file} | | {_show(npu.runs_per_s)} runs of the graph/s | | |")
    units = {unit for unit, runs in (("cpu", results.gguf), ("npu", results.npu)) if runs}
    return "\n".join([*lines, "", "Published, with other models:", "", *_anchors(anchors, units)])


def _check_file(name: str, sha256: str, files: Mapping[str, Any]) -> None:
    if name not in files:
        raise DeviceResultsRefused(f"{name}: not in this environment's bundle")
    if files[name]["sha256"] != sha256:
        raise DeviceResultsRefused(
            f"{name}: measured with other bytes than this environment's bundle holds; measure again"
        )


def _traffic(
    name: str, decode: float | None, files: Mapping[str, Any], anchors: Mapping[str, Any]
) -> float | None:
    """Return the GB/s of weights that a decoding speed means; each token reads all of them once."""
    if decode is None:
        return None
    traffic = decode * files[name]["bytes"] / 1e9
    limit = anchors["memory"]["limit"]
    if traffic > limit:
        raise DeviceResultsRefused(
            f"{name}: {decode:g} tokens/s would read {traffic:.0f} GB of weights per second, and a "
            f"phone's memory delivers about {limit}; measure again"
        )
    return traffic


def _anchors(anchors: Mapping[str, Any], units: set[str]) -> Iterator[str]:
    yield "| phone | unit | model | scheme | context | prompt | decode | source |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for row in anchors["anchors"]:
        if row["unit"] in units:
            names = ("device", "unit", "model", "scheme", "context", "prompt", "decode", "source")
            yield f"| {' | '.join(str(row.get(name, '')) for name in names)} |"
    yield ""
    for key, source in anchors["sources"].items():
        yield f"{key}: {source}"


def _show(number: float | None) -> str:
    return "not measured" if number is None else f"{number:.1f}"
