"""The examples in deploy/: every command is one of ours, every file and secret that one names is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from ranksearch.cli.app import app
from ranksearch.runs import parse
from ranksearch.searching.studies import PROXY

DEPLOY = Path(__file__).parent.parent / "deploy"

compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
kubernetes = [*yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))]


def by_name(kind: str) -> dict[str, Any]:
    return {each["metadata"]["name"]: each for each in kubernetes if each["kind"] == kind}


def pods() -> dict[str, Any]:
    """The pods that deployments and jobs make, each with one container."""
    return {
        name: each["spec"]["template"]
        for kind in ("Deployment", "Job")
        for name, each in by_name(kind).items()
    }


COMMANDS = {
    **{f"compose {name}": each["command"] for name, each in compose["services"].items() if "command" in each},
    **{f"kubernetes {name}": pod["spec"]["containers"][0]["args"] for name, pod in pods().items()},
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_understood(name: str) -> None:
    group: Any = typer.main.get_command(app)
    context = group.make_context("ranksearch", [*COMMANDS[name]])
    command = group.get_command(context, COMMANDS[name][0])
    found = command.make_context(COMMANDS[name][0], COMMANDS[name][1:], parent=context)
    given = {
        key: value for key, value in found.params.items() if value not in (None, [], ()) and key != "run"
    }
    parse({key: value for key, value in given.items() if key not in ("host", "port", "config", "as_json")})


@pytest.mark.parametrize("file", ["compose", "kubernetes"])
def test_those_who_search_together_name_the_same_place(file: str) -> None:
    places = [
        {word for word in words if word.startswith(("--artifacts", "--model", "--weights", "--data"))}
        for name, words in COMMANDS.items()
        if name.startswith(file) and words[0] in ("run", "worker")
    ]
    assert len(places) == 2
    assert places[0] == places[1]
    assert len(places[0]) == 4


def test_the_proxy_alone_knows_the_password() -> None:
    with_password = [name for name, each in compose["services"].items() if "PASSWORD" in str(each)]
    assert with_password == ["db", "proxy"]
    assert all("ports" not in each for each in compose["services"].values())
    secrets = {
        name: re.findall(r"'secretRef': {'name': '([\w-]+)'}", str(pod)) for name, pod in pods().items()
    }
    assert [name for name, own in secrets.items() if "ranksearch-database" in own] == ["ranksearch-proxy"]
    assert {secret for own in secrets.values() for secret in own} == by_name("Secret").keys()


def test_addresses_are_those_of_the_proxy() -> None:
    texts = [str(compose), str(kubernetes)]
    (in_compose,), (in_kubernetes,) = ({*re.findall(rf"{PROXY}([\w-]+):13000", text)} for text in texts)
    assert in_compose in compose["services"]
    service = by_name("Service")[in_kubernetes]
    proxy = pods()["ranksearch-proxy"]
    assert service["spec"]["selector"] == proxy["metadata"]["labels"]
    policy = by_name("NetworkPolicy")[in_kubernetes]["spec"]
    assert policy["podSelector"]["matchLabels"] == proxy["metadata"]["labels"]
    allowed = policy["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    jobs = [pod["metadata"]["labels"] for name, pod in pods().items() if name != "ranksearch-proxy"]
    assert jobs == [allowed] * 2


def test_volumes_are_there() -> None:
    for pod in pods().values():
        mounted = {mount["name"] for mount in pod["spec"]["containers"][0].get("volumeMounts", [])}
        assert mounted == {volume["name"] for volume in pod["spec"].get("volumes", [])}
    for name, each in compose["services"].items():
        named = {volume.partition(":")[0] for volume in each.get("volumes", []) if volume[0].isalpha()}
        assert named <= compose["volumes"].keys(), name


def test_kubernetes_knows_every_field() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    for each in kubernetes:
        validate.validate(each, validate.latest_version(), strict=True)


def test_extras_of_the_image_are_there() -> None:
    import tomllib

    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    (extras,) = re.findall(r"/src\[([\w,]+)\]", text)
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
