"""An artifact store in a bucket of S3, or of anything that speaks its protocol.

Credentials and the endpoint come from where boto3 looks for them, and from nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from optuna.artifacts import Boto3ArtifactStore

from ranksearch.errors import InputError, expected, told
from ranksearch.redaction import conceal

_CREDENTIALS = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what else boto3 takes them from."


def open_bucket(place: str) -> Bucket:
    """The store at s3://BUCKET[/PREFIX]. Raises InputError where there is none, or no credentials for it."""
    name, _, prefix = place.partition("://")[2].partition("/")
    if not name or "@" in name:
        raise InputError(
            expected("artifacts", "s3://BUCKET or s3://BUCKET/PREFIX", conceal(place), _CREDENTIALS)
        )
    try:
        client = boto3.client("s3", config=Config(connect_timeout=10, retries={"mode": "standard"}))
        client.head_bucket(Bucket=name)
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise InputError(
            expected("artifacts", f"credentials for {place}", told(error), _CREDENTIALS)
        ) from error
    except ParamValidationError as error:
        raise InputError(expected("artifacts", "the name of a bucket", repr(name))) from error
    except (ClientError, BotoCoreError, ValueError) as error:
        # Who may read and write objects need not be allowed to ask for the bucket itself.
        if _code(error) != "403":
            missing = _code(error) == "404"
            wanted = "a bucket that is there" if missing else "a bucket that answers"
            got = f"none named {name}" if missing else f"{place} ({told(error)})"
            raise InputError(expected("artifacts", wanted, got, _way_out(missing))) from error
    prefix = prefix.strip("/")
    return Bucket(Boto3ArtifactStore(name, client, avoid_buf_copy=True), f"{prefix}/" if prefix else "")


def _code(error: BaseException) -> str:
    response: dict[str, Any] = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", ""))


def _way_out(missing: bool) -> str:
    return "Make it first." if missing else "AWS_ENDPOINT_URL names the server where it is not Amazon's."


@dataclass(frozen=True)
class Bucket:
    """Objects of a bucket whose names begin with a prefix."""

    store: Boto3ArtifactStore
    prefix: str

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """A reader of what was kept. Raises ArtifactNotFound where nothing was."""
        return self.store.open_reader(self._key(artifact_id))

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Keep something."""
        self.store.write(self._key(artifact_id), content_body)

    def remove(self, artifact_id: str) -> None:
        """Keep something no longer."""
        self.store.remove(self._key(artifact_id))

    def _key(self, artifact_id: str) -> str:
        """Ids come from the storage, which is not to name other objects."""
        if "/" in artifact_id:
            raise ValueError(f"Invalid artifact_id: {artifact_id}")
        return f"{self.prefix}{artifact_id}"
