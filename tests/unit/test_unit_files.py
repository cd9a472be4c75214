"""Unit files of a release: what stands for a placeholder, what is refused, and what differs from what is installed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from deploy.config import Systemd
from deploy.hostside import unitfiles
from deploy.hostside.failure import Failure
from deploy.hostside.layout import Layout
from deploy.service import unitfiles as commands

VALUES = {"base_path": "/srv/app", "port": 8000}


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    (tmp_path / "releases/r1/units").mkdir(parents=True)
    (tmp_path / ".deploy").mkdir()
    (tmp_path / "etc").mkdir()
    (tmp_path / "releases/r1/units/app.service").write_text("[Service]\nExecStart={{ base_path }}/run {{port}}\n")
    monkeypatch.setattr(unitfiles, "SYSTEM", str(tmp_path / "etc"))
    return Layout(str(tmp_path))


def test_placeholders_are_replaced_and_nothing_else() -> None:
    text = "ExecStart={{ base_path }}/run --port {{port}} ${HOME} %n {a} }}\n"
    assert unitfiles.render(text, VALUES, "app.service") == "ExecStart=/srv/app/run --port 8000 ${HOME} %n {a} }}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[Service]\n\nExecStart={{ prot }}\n", "units/app.service:3: there is no value for {{ prot }}"),
        ("A={{ port }}\nB={{ }}\n", "units/app.service:2: there is no value for {{ }}"),
        ("A={{ port\n}}\n", "units/app.service:1: there is no value for {{"),
    ],
)
def test_what_has_no_value_is_named_with_its_line(text: str, expected: str) -> None:
    with pytest.raises(Failure) as caught:
        unitfiles.render(text, VALUES, "units/app.service")
    assert caught.value.what.startswith(expected)
    assert "base_path, port" in caught.value.hint


def test_only_what_differs_is_written_and_what_was_there_is_told(layout: Layout) -> None:
    asked: dict[str, Any] = {"files": ["units/app.service"], "values": VALUES, "of_user": False}
    assert unitfiles.differing(layout, "r1", **asked) == ["app.service"]
    [changed] = unitfiles.write(layout, "r1", **asked)
    assert changed == {"name": "app.service", "former": None, "install": False}
    made = Path(layout.path(".deploy/units/app.service"))
    installed = Path(layout.path("etc/app.service"))
    installed.write_text(made.read_text())
    assert unitfiles.write(layout, "r1", **asked) == []
    assert unitfiles.differing(layout, "r1", **asked) == []
    installed.write_text("by hand")
    assert unitfiles.write(layout, "r1", **asked)[0]["former"] == "by hand"
    [put] = unitfiles.put(layout, {"app.service": "former\n[Install]\n"}, of_user=False)
    assert put["install"]
    assert made.read_text() == "former\n[Install]\n"


def test_what_a_release_does_not_bring_differs_and_is_not_written(layout: Layout) -> None:
    asked: dict[str, Any] = {"files": ["units/other.service"], "values": VALUES, "of_user": False}
    assert unitfiles.differing(layout, "r1", **asked) == ["other.service"]
    with pytest.raises(Failure, match="release r1 brings no units/other"):
        unitfiles.write(layout, "r1", **asked)


def test_a_masked_unit_is_not_overwritten(layout: Layout) -> None:
    os.symlink(os.devnull, layout.path("etc/app.service"))
    with pytest.raises(Failure, match="is masked"):
        unitfiles.write(layout, "r1", ["units/app.service"], VALUES, of_user=False)


def test_every_command_of_root_can_be_named_in_a_sudoers_rule() -> None:
    service = Systemd(
        manager="systemd", unit="app@.service", instances=2, unit_file=["units/app@.service", "units/app.socket"]
    )
    assert [str(command) for command in commands.all_of(service, "/srv/app")] == [
        "install -m 0644 -T /srv/app/.deploy/units/app@.service /etc/systemd/system/.app@.service.new",
        "mv -T /etc/systemd/system/.app@.service.new /etc/systemd/system/app@.service",
        "systemctl enable app@1.service app@2.service",
        "install -m 0644 -T /srv/app/.deploy/units/app.socket /etc/systemd/system/.app.socket.new",
        "mv -T /etc/systemd/system/.app.socket.new /etc/systemd/system/app.socket",
        "systemctl enable app.socket",
        "systemctl stop app.service",
        "systemctl start app.socket",
        "systemctl daemon-reload",
    ]
    assert commands.brings(service, "app@2.service")
    assert not commands.brings(service, "app2.service")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"unit_file": "/etc/app.service"}, "must be a path inside the release"),
        ({"unit_file": "units/app.conf"}, "app.conf is no name of a unit"),
        ({"unit_file": ["a/app.service", "b/app.service"]}, "have the same name"),
        ({"unit_values": {"base_path": "/"}}, "base_path is known already"),
        ({"unit_values": {"a-b": "c"}}, "cannot be the name of a value"),
        ({"unit_values": {"a": "b\nUser=root"}}, "a must be text in one line"),
    ],
)
def test_what_cannot_be_installed_is_refused(keys: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        Systemd.model_validate({"manager": "systemd", "unit": "app.service", **keys})
