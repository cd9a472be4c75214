"""What nobody is to see, of runs that reach no host: errors, logs, the cache, and what others could see meanwhile."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.conftest import free_port
from tests.local.packages import Index, Project
from tests.watching import Processes, files_with


def sentinel() -> str:
    return "sentinel" + secrets.token_hex(8)


@pytest.fixture
def index() -> Iterator[Index]:
    served = Index()
    yield served
    served.close()


@pytest.fixture
def project(tmp_path: Path, index: Index) -> Project:
    return Project(tmp_path, index)


def hidden(directory: Path, document: object) -> Path:
    """A file that is merged with ``-f``, as the documentation advises for secrets."""
    path = directory / "hidden.json"
    path.write_text(json.dumps(document))
    return path


def test_the_log_of_fabric_itself_shows_no_secret(project: Project, tmp_path: Path) -> None:
    words = [sentinel() for _ in range(8)]
    document = {
        "sudo": {"password": f"it's \"{words[0]}"},
        "connect_kwargs": {"password": words[1], "passphrase": words[2]},
        "deploy": {
            "env": {"DB_PASSWORD": words[3], "DATABASE": f"db://ana:{words[4]}@db/x", "PLAIN": f"password={words[5]}"},
            "index": {"url": f"http://ana:{words[6]}@127.0.0.1:1/simple/"},
        },
        "other": {"tokens": ["a", words[7]]},
    }
    project.configure(build=["true"])
    said = project.fab("--debug", "-f", hidden(tmp_path, document), "build")
    assert "Merging config sources" in said
    assert "'DB_PASSWORD': '***'" in said
    assert not [word for word in words if word in said]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"env": {"DB_PASSWORD": ["SENTINEL"]}}, "deploy.env.DB_PASSWORD: must be text"),
        ({"env": "SENTINEL"}, "deploy.env: must be a valid dictionary|deploy.env: input should be a valid dictionary"),
        ({"env": {"SENTINEL-x": "a", "API_TOKEN": "SENTINEL"}}, "is no name of a variable"),
        ({"api_key": "SENTINEL"}, "deploy.api_key: unknown key"),
        ({"index": {"proxy": ["http://ana:SENTINEL@127.0.0.1/"]}}, "deploy.index.proxy: must be text"),
        ({"deploy_user": "ana:SENTINEL@web1"}, "deploy.deploy_user: "),
    ],
)
def test_an_error_of_the_configuration_quotes_no_secret(project: Project, keys: dict[str, object], said: str) -> None:
    word = sentinel()
    project.configure(**json.loads(json.dumps(keys).replace("SENTINEL", word)))
    told = project.fab("build", expect=2)
    assert any(each in told for each in said.split("|")), told
    assert word not in told.replace(f"'{word}-x'", "")  # the name of a variable is none


def test_a_file_that_cannot_be_parsed_is_not_quoted(project: Project, tmp_path: Path) -> None:
    word = sentinel()
    path = tmp_path / "hidden.yaml"
    path.write_text(f"sudo:\n  password: {word}\n bad: '{word}\n")
    told = project.fab("-f", path, "build", expect=2)
    assert f"error: {path}: it cannot be read: line " in told
    assert word not in told


def test_no_run_that_makes_a_bundle_shows_or_keeps_a_secret(project: Project, index: Index, tmp_path: Path) -> None:
    """The index's login in a URL and in netrc, the proxy's, a signing key's passphrase, `env:`: well, and failing."""
    url, netrc, proxy, passphrase, variable = words = [sentinel() for _ in range(5)]
    place = tmp_path / "netrc"
    place.write_text(f"machine 127.0.0.1 login ana password {netrc}\n")
    place.chmod(0o600)
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", key], check=True)
    env = {"DB_PASSWORD": variable, "DATABASE": f"db://ana:{variable}@db/x"}
    said = ""

    with Processes(*words) as processes:
        index.login = f"ana:{url}"
        at = f"127.0.0.1:{index.port}/simple/"
        project.configure(index={"url": f"http://ana:{url}@{at}"}, env=env)
        project.write(index.wheel("one", "1.0"), index.sdist("#error because\n"))
        said += project.create(expect=3)
        assert "native" in said
        project.write(index.wheel("one", "1.0"))
        said += project.create() + project.fab("bundle.show") + project.fab("bundle.list")

        index.login = f"ana:{netrc}"
        project.write(index.wheel("one", "2.0"))
        refused = project.create(expect=3)
        assert "HTTP 401" in refused
        project.configure(index={"url": f"http://{at}"}, env=env)
        said += refused + project.create(NETRC=str(place))

        project.configure(
            index={"url": f"http://{at}", "proxy": f"http://ana:{proxy}@127.0.0.1:{free_port()}"}, env=env
        )
        project.write(index.wheel("one", "3.0"))
        unreached = project.create(expect=3, NETRC=str(place))
        assert "is the index in reach?" in unreached

        project.configure(index={"url": f"http://{at}"}, env=env, bundle={"sign": str(key)})
        unsigned = project.create(expect=2, NETRC=str(place))
        assert "cannot be signed" in unsigned
        said += unreached + unsigned + signed(project, key, passphrase, NETRC=str(place))

        failing = f'echo "$DB_PASSWORD $DATABASE"; echo {variable[:4]}; exit 1'
        project.configure(build=[{"command": failing}], env=env, hooks={"before_build": [failing]})
        said += project.fab("build", expect=3)
        project.configure(build=[failing], env=env)
        said += project.fab("build", expect=3, DB_PASSWORD=variable)

    assert not [word for word in words if word in said]
    own = [line for line in processes.with_any(*words) if b"ssh-keygen" not in line]
    assert not own, own
    assert {shown.mode for shown in processes.shown} == {0o400}, "the kernel shows environments to their owner alone"
    kept = {path.name for path in files_with(tmp_path, *words)}
    assert kept <= {"netrc", "fabric.yaml", "askpass"}, kept


def signed(project: Project, key: Path, passphrase: str, **variables: str) -> str:
    """Make a bundle and sign it, with the key in an agent."""
    directory = key.parent
    askpass = directory / "askpass"
    askpass.write_text(f"#!/bin/sh\necho {passphrase}\n")
    askpass.chmod(0o700)
    agent = subprocess.run([shutil.which("ssh-agent") or "", "-s"], capture_output=True, text=True, check=True).stdout
    own = dict(part.split("=") for line in agent.splitlines() for part in [line.partition(";")[0]] if "=" in part)
    try:
        asking = {**os.environ, **own, "SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
        subprocess.run(["ssh-add", key], env=asking, check=True, capture_output=True, start_new_session=True)
        # The project drops SSH_ of its own environment and takes what it is given.
        return project.create(**own, **variables)
    finally:
        os.kill(int(own["SSH_AGENT_PID"]), signal.SIGTERM)
