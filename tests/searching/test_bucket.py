"""Files that are shared in a bucket of S3, for which a server of moto stands in."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.study import Study

from ranksearch import testing
from ranksearch.cli.endings import ending
from ranksearch.errors import InputError, MismatchError
from ranksearch.searching import SearchSettings, front_record, search, shared
from ranksearch.searching.studies import Artifact, Artifacts, open_storage

boto3 = pytest.importorskip("boto3", reason="needs boto3: pip install '.[s3]'")
server = pytest.importorskip("moto.server", reason="needs moto: pip install '.[test]'")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    stand_in = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    stand_in.start()
    host, port = stand_in.get_host_and_port()
    yield f"http://{host}:{port}"
    stand_in.stop()


@pytest.fixture
def client(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """What boto3 finds by itself, and a bucket named `bucket`."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    found = {
        "ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": "key-of-mine", "SECRET_ACCESS_KEY": "secret-of-mine",
        "CONFIG_FILE": str(tmp_path / "none"), "SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "EC2_METADATA_DISABLED": "true", "DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    for name, value in found.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    made = boto3.client("s3")
    made.create_bucket(Bucket="bucket")
    yield made
    for each in made.list_objects_v2(Bucket="bucket").get("Contents", []):
        made.delete_object(Bucket="bucket", Key=each["Key"])
    made.delete_bucket(Bucket="bucket")
    made.close()


@pytest.fixture
def study() -> Study:
    return optuna.create_study()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(100_000))
    return path


@pytest.mark.parametrize(
    ("place", "prefix"),
    [("s3://bucket", ""), ("s3://bucket/", ""), ("s3://bucket/a/b", "a/b/"), ("s3://bucket/a/", "a/")],
)
def test_what_is_kept_comes_back(
    client: Any, study: Study, file: Path, tmp_path: Path, place: str, prefix: str
) -> None:
    kept = Artifacts.at(place).put(study, file)
    assert [each["Key"] for each in client.list_objects_v2(Bucket="bucket")["Contents"]] == [prefix + kept.id]
    found = Artifacts.at(place)
    assert found.has(kept)
    found.get(kept, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == file.read_bytes()


def test_what_is_not_what_was_kept_is_refused(client: Any, study: Study, file: Path, tmp_path: Path) -> None:
    artifacts = Artifacts.at("s3://bucket/p")
    kept = artifacts.put(study, file)
    for content in (file.read_bytes()[:-1], file.read_bytes()[:-1] + b"x", b""):
        client.put_object(Bucket="bucket", Key=f"p/{kept.id}", Body=content)
        with pytest.raises(
            MismatchError, match=f"artifacts, {kept.id}: expected the content that was shared"
        ):
            artifacts.get(kept, tmp_path / "back")
    client.delete_object(Bucket="bucket", Key=f"p/{kept.id}")
    assert not artifacts.has(kept)
    with pytest.raises(
        InputError, match=f"artifacts: expected a store that holds {kept.id}, got one that does not"
    ):
        artifacts.get(kept, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_other_objects_of_the_bucket_are_out_of_reach(client: Any, tmp_path: Path) -> None:
    client.put_object(Bucket="bucket", Key="p/../other", Body=b"x")
    other = Artifact(id="../other", sha256="2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881")
    artifacts = Artifacts.at("s3://bucket/p")
    assert not artifacts.has(other)
    with pytest.raises(InputError, match="expected a store that holds"):
        artifacts.get(other, tmp_path / "back")


def test_what_is_wrong_is_told_in_one_line(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(place: str) -> str:
        with pytest.raises(InputError) as caught:
            Artifacts.at(place)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert (
        told("s3://absent/p")
        == "artifacts: expected a bucket that is there, got none named absent. Make it first."
    )
    assert told("s3://").startswith("artifacts: expected s3://BUCKET or s3://BUCKET/PREFIX, got s3://.")
    assert told("s3:///p").startswith("artifacts: expected s3://BUCKET or s3://BUCKET/PREFIX, got s3:///p.")
    assert told("s3://no such name").startswith(
        "artifacts: expected the name of a bucket, got 'no such name'"
    )
    found = told("s3://key-of-mine:secret-of-mine@bucket/p")
    assert found.startswith(
        "artifacts: expected s3://BUCKET or s3://BUCKET/PREFIX, got s3://key-of-mine:***@bucket/p"
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    found = told("s3://bucket/p")
    assert found.startswith(
        "artifacts: expected a bucket that answers, got s3://bucket/p (EndpointConnectionError: "
    )
    assert found.endswith("AWS_ENDPOINT_URL names the server where it is not Amazon's.")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    found = told("s3://bucket/p")
    assert found.startswith("artifacts: expected credentials for s3://bucket/p, got NoCredentialsError: ")
    monkeypatch.setattr("ranksearch.searching.studies.artifacts.find_spec", lambda name: None)
    wanted = "artifacts: expected the package boto3 for s3://bucket, got none. pip install 'ranksearch[s3]'"
    assert told("s3://bucket") == wanted


def test_who_may_read_and_write_objects_alone_need_not_ask_for_the_bucket(
    client: Any, study: Study, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forbidding(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(403)
            self.end_headers()

        do_GET = do_PUT = do_HEAD  # noqa: N815

        def log_message(self, *given: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Forbidding) as forbidding:
        thread = threading.Thread(target=forbidding.serve_forever)
        thread.start()
        try:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{forbidding.server_port}")
            artifacts = Artifacts.at("s3://bucket")
            with pytest.raises(Exception, match="403") as caught:
                artifacts.put(study, file)
        finally:
            forbidding.shutdown()
            thread.join()
    found = ending(caught.value)
    assert found is not None
    assert (found.code, found.go_on) == (1, True)
    assert found.message.startswith("artifacts: the store failed (ClientError: ")


MEMBER = """
import sys
from dataclasses import replace
from pathlib import Path
from ranksearch import testing
from ranksearch.searching import work
from ranksearch.searching.studies import Artifacts, open_storage

location, folder = sys.argv[1:]
task = replace(testing.tiny_task(), cache=Path(folder, "member"))
work(task, open_storage(location), "s3", artifacts=Artifacts.at("s3://bucket/first"), timeout=60.0)
"""


def test_a_worker_gets_what_it_needs_from_the_bucket(client: Any, tmp_path: Path) -> None:
    settings = SearchSettings(
        budgets=(0.5,), n_trials=12, objective="reconstruction", sampler="random", study_name="s3", finetune_trials=0,
        refit_trials=0,
    )  # fmt: skip
    problem = testing.tiny_problem(replace(testing.tiny_task(), cache=tmp_path / "cache"))
    location = str(tmp_path / "s.jsonl")
    storage = open_storage(location)
    alone = search(problem, settings, storage=InMemoryStorage())
    words = [sys.executable, "-c", MEMBER, location, str(tmp_path)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            with shared(problem, settings, storage, Artifacts.at("s3://bucket/first")) as board:
                end = time.monotonic() + 60
                while not [*(tmp_path / "member").glob("*")] and time.monotonic() < end:
                    time.sleep(0.05)
                together = search(problem, settings, storage=storage, board=board)
            errors = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert process.returncode == 0, errors
    keys = [each["Key"] for each in client.list_objects_v2(Bucket="bucket")["Contents"]]
    assert all(key.startswith("first/") for key in keys)
    kept, got = (
        {file.name: file.read_bytes() for file in (tmp_path / where).iterdir()}
        for where in ("cache", "member")
    )
    assert got
    assert got.items() <= kept.items()
    records = [
        front_record(each, model="m", metric="params", dense=problem.dense) for each in (alone, together)
    ]
    assert records[0] == records[1]
