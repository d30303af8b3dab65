"""Files that the processes of a search share, in an artifact store of Optuna, each verified by its digest."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.study import Study

from ranksearch.checksums import sha256_of
from ranksearch.errors import InputError, MismatchError, expected
from ranksearch.files import whole_file
from ranksearch.records import Record
from ranksearch.redaction import conceal

if TYPE_CHECKING:
    from optuna.artifacts._protocol import ArtifactStore

S3 = "s3://"
"""What the address of a bucket begins with."""

_WAY_OUT = "Name the place that the process which leads the search writes to, as it is seen from here."


class Artifact(Record):
    """A file of a store: its id there, and its SHA-256."""

    id: str
    sha256: str


@dataclass(frozen=True)
class Artifacts:
    """A store of files. Where it is, is up to whoever starts a process: the storage of a search names no place."""

    store: ArtifactStore

    @classmethod
    def at(cls, place: str | Path) -> Artifacts:
        """The store in a folder, which is made where it is missing, or at s3://BUCKET/PREFIX.

        Raises InputError where there is no such bucket, or none that can be reached.
        """
        if str(place).startswith(S3):
            if find_spec("boto3") is None:
                way_out = "pip install 'ranksearch[s3]'"
                raise InputError(
                    expected("artifacts", f"the package boto3 for {conceal(str(place))}", "none", way_out)
                )
            from ranksearch.searching.studies.bucket import open_bucket

            return cls(open_bucket(str(place)))
        folder = Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        return cls(FileSystemArtifactStore(folder))

    def put(self, study: Study, file: Path) -> Artifact:
        """Keep a file, noted in the attributes of a study."""
        kept = upload_artifact(artifact_store=self.store, file_path=str(file), study_or_trial=study)
        return Artifact(id=kept, sha256=sha256_of(file))

    def has(self, artifact: Artifact) -> bool:
        """Whether the store has a file of that id."""
        try:
            self.store.open_reader(artifact.id).close()
        except (ArtifactNotFound, OSError, ValueError):
            return False
        return True

    def get(self, artifact: Artifact, file: Path) -> None:
        """Write what was kept to a file. Raises InputError where it is missing, and MismatchError where it is not what
        was kept."""
        try:
            with whole_file(file) as temporary:
                with self.store.open_reader(artifact.id) as reader, temporary.open("wb") as writer:
                    shutil.copyfileobj(reader, writer)
                if (got := sha256_of(temporary)) != artifact.sha256:
                    wanted = f"the content that was shared, {artifact.sha256[:12]}…"
                    raise MismatchError(expected(f"artifacts, {artifact.id}", wanted, f"{got[:12]}…"))
        except (ArtifactNotFound, ValueError) as error:
            what = f"a store that holds {artifact.id}"
            raise InputError(expected("artifacts", what, "one that does not", _WAY_OUT)) from error
