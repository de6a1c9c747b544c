"""A public file, pinned by commit and digest, fetched only when somebody asks for it.

The catalog entry says where the file comes from and what its bytes must be. Loading it costs
nothing: it returns a :class:`RawFile`, and only :meth:`RawFile.fetch` touches the disk or the
network. A dataset that a run does not use is therefore never fetched.
"""

import codecs
import hashlib
import json
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import JSONPreview  # kedro-viz picks the view by this annotation
from pydantic import Field, ValidationError, model_validator

from mental_slm.options import Options

logger = logging.getLogger(__name__)

#: Environment variable with a folder that holds ``<repository>/<commit>/<file>`` copies.
MIRROR_VARIABLE = "MENTAL_SLM_MIRROR"

#: Where GitHub serves the files of a commit.
RAW_GITHUB = "https://raw.githubusercontent.com"

_RETRIES = 2
_TIMEOUT_SECONDS = 30


class SourceFileError(ValueError):
    """A raw file is missing or is not the file that the catalog names."""


class Source(Options):
    """Where a file comes from and what its bytes must be."""

    # Not called `path`: Kedro makes every relative `path` below a catalog entry absolute.
    file: str = Field(description="Path of the file inside its repository, or inside the sample.")
    repository: str | None = Field(
        default=None, description="GitHub owner/name; none for a file of the committed sample."
    )
    commit: str | None = Field(default=None, description="Full commit id, never a branch name.")
    sha256: str | None = Field(default=None, description="SHA-256 of the bytes, as hex.")
    git_blob: str | None = Field(
        default=None,
        description="Git object id of the bytes; verifies a file whose SHA-256 is not published.",
    )
    bytes: int = Field(
        gt=0, description="Size in bytes; fewer means that a download was cut short."
    )
    rows: int | None = Field(default=None, ge=0, description="Number of records the file holds.")
    licence: str = Field(description="What the source itself states about its licence.")
    citation: str = Field(default="", description="The publication to cite.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.repository is None) != (self.commit is None):
            raise ValueError("repository and commit go together: give both or none")
        if self.sha256 is None and self.git_blob is None:
            raise ValueError("give sha256 or git_blob, else the file cannot be verified")
        return self


@dataclass(frozen=True)
class RawFile:
    """A light handle on a raw file; picklable, and free until :meth:`fetch` is called.

    Attributes:
        filepath: Where the file lies in the project (or will lie once fetched).
        source: Where it comes from and what its bytes must be.
        base_url: Server of the repositories.
    """

    filepath: Path
    source: Source
    base_url: str = RAW_GITHUB

    @property
    def name(self) -> str:
        """File name, as messages show it."""
        return self.filepath.name

    def local_copy(self) -> Path | None:
        """Return the copy in the mirror, else the one in the project, else None."""
        mirror = os.environ.get(MIRROR_VARIABLE)
        candidates = [self.filepath]
        if mirror and self.source.repository and self.source.commit:
            candidates.insert(
                0, Path(mirror) / self.source.repository / self.source.commit / self.source.file
            )
        return next((path for path in candidates if path.is_file()), None)

    def fetch(self) -> Path:
        """Return the path of a verified local copy, downloading the file where there is none.

        Returns:
            The copy in ``$MENTAL_SLM_MIRROR`` if there is one, else the file in the project.

        Raises:
            SourceFileError: The file cannot be had, or is not the one the catalog names. The
                message holds the path and the remedy.
        """
        mirror = os.environ.get(MIRROR_VARIABLE)
        if mirror and not Path(mirror).is_dir():  # a slip must not turn into a download
            raise SourceFileError(
                f"{MIRROR_VARIABLE} is {mirror!r}, which is no folder; correct or unset it"
            )
        found = self.local_copy()
        if found is not None:
            try:
                content = found.read_bytes()
            except OSError as error:
                raise SourceFileError(
                    f"{found}: cannot be read ({error.strerror}); {self._remedy(found)}"
                ) from error
            verify(content, self.source, str(found), self._remedy(found))
            return found
        if self.source.repository is None:
            raise SourceFileError(
                f"{self.filepath}: the sample file is missing; "
                "`python -m mental_slm.sample` restores it"
            )
        self._download()
        return self.filepath

    def _remedy(self, found: Path) -> str:
        if self.source.repository is None:
            return "`python -m mental_slm.sample` restores it"
        if found != self.filepath:
            return f"put the right file there, or unset {MIRROR_VARIABLE}"
        return "delete it to fetch it again, or put the right file there"

    def _download(self) -> None:
        """Download to the project; pooch writes aside and renames, so no partial file remains."""
        import pooch

        url = f"{self.base_url}/{self.source.repository}/{self.source.commit}"
        http = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=_TIMEOUT_SECONDS)

        def download_and_verify(file_url: str, target: str, cache: pooch.Pooch) -> None:
            http(file_url, target, cache)
            # Inside the downloader, so that a broken download is tried again and never renamed.
            verify(Path(target).read_bytes(), self.source, file_url, "try again later")

        cache = pooch.create(
            path=self.filepath.parent,
            base_url=f"{url}/",
            registry={self.name: None},
            urls={self.name: f"{url}/{self.source.file}"},
            retry_if_failed=_RETRIES,
        )
        logger.info("Fetching %s (%.1f MB) from %s", self.name, self.source.bytes / 1e6, url)
        try:
            cache.fetch(self.name, downloader=download_and_verify)
        except (OSError, SourceFileError) as error:
            raise SourceFileError(
                f"{url}/{self.source.file}: could not be fetched ({error}). Check the network, or "
                f"put the file at {self.filepath}, or set {MIRROR_VARIABLE} to a folder that holds "
                f"{self.source.repository}/{self.source.commit}/{self.source.file}"
            ) from error


def verify(content: bytes, source: Source, what: str, remedy: str) -> None:
    """Check that ``content`` is the file that ``source`` names.

    Args:
        content: The bytes of the file.
        source: What they must be.
        what: Path or URL, for the message.
        remedy: What a person can do about a wrong file, for the message.

    Raises:
        SourceFileError: Empty, an HTML page, cut short, or of another digest.
    """
    if not content:
        raise SourceFileError(f"{what}: the file is empty; {remedy}")
    if (
        content.removeprefix(codecs.BOM_UTF8)
        .lstrip()[:15]
        .lower()
        .startswith((b"<!doctype html", b"<html"))
    ):
        raise SourceFileError(
            f"{what}: this is an HTML page (an error page saved under the file's name?), "
            f"not the data; {remedy}"
        )
    if len(content) < source.bytes:
        raise SourceFileError(
            f"{what}: cut short, it has {len(content):,} of {source.bytes:,} bytes; {remedy}"
        )
    found, expected = _digests(content, source)
    if found != expected:
        raise SourceFileError(
            f"{what}: not the expected file: its digest is {found}, expected {expected}; {remedy}"
        )


def _digests(content: bytes, source: Source) -> tuple[str, str | None]:
    if source.sha256 is not None:
        return hashlib.sha256(content).hexdigest(), source.sha256
    # https://git-scm.com/book/en/v2/Git-Internals-Git-Objects: the header counts as content.
    # SHA-1 identifies a file at a pinned commit here; it guards against mix-ups, not attackers.
    blob = b"blob %d\0" % len(content) + content
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest(), source.git_blob


class RemoteFileDataset(AbstractDataset[None, RawFile]):
    """Catalog dataset of a pinned public file; read-only.

    Example:
        ::

            isear_file:
              type: mental_slm.datasets.remote_file.RemoteFileDataset
              filepath: data/01_raw/public/sinmaniphel/py_isear_dataset/isear.csv
              source:
                repository: sinmaniphel/py_isear_dataset
                commit: 948f4cf80161ea28e6dc5bfb4ad729f21ff47723
                file: isear.csv
                sha256: 370110fff70a1e1d9e23b10cf6db1f64876120fa02276afe5916fbfeb038cdca
                bytes: 1670985
                rows: 7666
                licence: stated by the source
    """

    def __init__(
        self,
        *,
        filepath: str,
        source: dict[str, Any],
        base_url: str = RAW_GITHUB,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Describe the file; nothing is read or fetched.

        Args:
            filepath: Where the file lies in the project.
            source: The fields of :class:`Source`.
            base_url: Server that offers ``/<repository>/<commit>/<file>``.
            metadata: Free data for plugins, for example kedro-viz.

        Raises:
            DatasetError: ``source`` lacks a field or has an unknown one.
        """
        try:
            checked = Source.model_validate(source)
        except ValidationError as error:
            raise DatasetError(f"{filepath}: wrong `source` in the catalog: {error}") from error
        self._file = RawFile(Path(filepath), checked, base_url.rstrip("/"))
        self.metadata = metadata

    def load(self) -> RawFile:
        """Return the handle; call its ``fetch()`` for the verified file."""
        return self._file

    def save(self, data: None) -> None:
        """Refuse: raw files are never written by a pipeline."""
        raise DatasetError(f"{self._file.filepath}: raw files are read-only")

    def _exists(self) -> bool:
        return self._file.local_copy() is not None

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._file.filepath), **self._file.source.model_dump()}

    def preview(self) -> JSONPreview:
        """Show the facts about the file (never its text) in kedro-viz."""
        facts = {**self._file.source.model_dump(exclude_none=True), "at_hand": self._exists()}
        return JSONPreview(json.dumps(facts))
