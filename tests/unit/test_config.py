"""The configuration: what is accepted, and what is said of what is not."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from deploy import config
from deploy.errors import ConfigurationError

SECTION: dict[str, Any] = {
    "app": "guestbook",
    "base_path": "/srv/guestbook",
    "deploy_user": "guestbook",
    "source": {"strategy": "rsync", "path": ".", "exclude": ["node_modules"]},
    "shared": {"files": [".env"], "dirs": ["media"]},
    "migrate": {"command": "python manage.py migrate --noinput"},
    "service": {"manager": "systemd", "unit": "guestbook.service", "action": "restart"},
    "health": {"url": "http://127.0.0.1:8000/health", "timeout": 30},
    "keep_releases": 5,
    "stages": {
        "staging": {"hosts": ["deploy@staging.example.org"]},
        "production": {"hosts": ["deploy@web1.example.org", "deploy@web2.example.org"]},
    },
}


def section(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(SECTION), **changes}


def problems(wrong: dict[str, Any], stage: str = "staging") -> str:
    with pytest.raises(ConfigurationError) as caught:
        config.load(wrong, stage, "fabric.yaml")
    return str(caught.value)


def test_the_example_of_the_readme_is_valid() -> None:
    settings = config.load(section(), "production", "fabric.yaml")
    assert [host.name for host in settings.hosts] == ["web1.example.org", "web2.example.org"]
    assert settings.service == config.Systemd(manager="systemd", unit="guestbook.service")


def test_an_unknown_key_is_named_with_its_path_and_a_suggestion() -> None:
    said = problems(section(keep_release=3, health={"url": "http://localhost/", "timeot": 3}))
    assert "deploy.keep_release: unknown key; did you mean keep_releases?" in said
    assert "deploy.health.timeot: unknown key; did you mean timeout?" in said
    assert said.startswith("fabric.yaml: 2 problems")


def test_missing_keys_and_wrong_types_are_told_all_at_once() -> None:
    wrong = section(keep_releases="many", base_path="relative/path")
    del wrong["app"]
    said = problems(wrong)
    assert "deploy.app: is missing" in said
    assert "deploy.keep_releases: input should be a valid integer" in said
    assert "deploy.base_path: must be an absolute path" in said


def test_a_problem_of_another_stage_is_told_too() -> None:
    wrong = section()
    wrong["stages"]["production"]["python"] = "python3 -E"
    assert "deploy.stages.production.python: must be the name" in problems(wrong, "staging")


def test_a_stage_overrides_single_keys_of_a_mapping() -> None:
    changed = section()
    changed["stages"]["staging"]["health"] = {"timeout": 5}
    settings = config.load(changed, "staging", "fabric.yaml")
    assert settings.health is not None
    assert (settings.health.url, settings.health.timeout) == ("http://127.0.0.1:8000/health", 5)


def test_a_stage_with_another_service_manager_replaces_the_service() -> None:
    changed = section()
    changed["stages"]["staging"]["service"] = {"manager": "touch", "file": "reload"}
    service = config.load(changed, "staging", "fabric.yaml").service
    assert service == config.Touch(manager="touch", file="reload")


def test_an_unknown_manager_is_answered_with_the_known_ones() -> None:
    said = problems(section(service={"manager": "sytemd", "unit": "x"}))
    assert "deploy.service.manager: must be one of systemd, supervisor, signal, touch, command" in said


def test_a_key_that_is_called_as_a_manager_is_named_too() -> None:
    assert "deploy.service.command: is missing" in problems(section(service={"manager": "command"}))
    assert "deploy.service.signal: input should be" in problems(
        section(service={"manager": "signal", "pidfile": "x", "signal": "KILL"})
    )
    assert "deploy.migrate.command: must be text; put it in quotes (it is 3)" in problems(
        section(migrate={"command": 3})
    )


def test_wrong_types_are_told_in_plain_words() -> None:
    said = problems(section(service="systemd", shared=[".env"], source={"exclude": "x"}, app=3.12))
    assert "deploy.service: must be a mapping (it is 'systemd')" in said
    assert "deploy.shared: must be a mapping" in said
    assert "deploy.source.exclude: must be a list (it is 'x')" in said
    assert "deploy.app: must be text; put it in quotes (it is 3.12)" in said


def test_a_wrong_target_is_one_problem() -> None:
    assert "a problem in section deploy:\n  deploy.target: must be auto, local, or a" in problems(section(target="foo"))
    said = problems(section(target={"python": 3.12, "platform": "manylinux_2_36_x86_64"}))
    assert "a problem in section deploy:\n  deploy.target.python: must be text" in said
    either = "a problem in section deploy:\n  deploy.target: must have either files, or python and platform"
    for wrong in ({}, {"python": "3.11"}, {"files": ["a.json"], "python": "3.11"}):
        assert either in problems(section(target=wrong))
    said = problems(section(target={"file": ["a.json"]}))
    assert "deploy.target.file: unknown key; did you mean files?" in said


def test_a_misspelt_key_stages_is_suggested() -> None:
    with pytest.raises(ConfigurationError, match=r"deploy\.stags: unknown key; did you mean stages\?"):
        config.choose_stage({"stage": None, "stags": {"a": ["b"]}}, "fabric.yaml")


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "a b", "user@", "host:port", "h;rm -rf /"])
def test_a_host_that_is_no_address_is_refused(host: str) -> None:
    assert "deploy.stages.staging.hosts[0]" in problems(section(stages={"staging": {"hosts": [host]}}))


def test_an_ipv6_address_with_a_port_is_a_host() -> None:
    settings = config.load(section(stages={"s": {"hosts": ["deploy@[2001:db8::1]:2222"]}}), "s", "f")
    assert settings.hosts[0].name == "[2001:db8::1]:2222"


def test_a_host_listed_twice_is_refused() -> None:
    assert "listed twice" in problems(section(stages={"staging": {"hosts": ["a", "a"]}}))


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../b", "-x", "", ".", "./"])
def test_a_shared_path_outside_the_release_is_refused(path: str) -> None:
    assert "shared.files" in problems(section(shared={"files": [path]}))


def test_a_shared_path_is_written_in_one_way() -> None:
    shared = config.Shared(files=["./.env"], dirs=["media//photos/", "./data"])
    assert (shared.files, shared.dirs) == ([".env"], ["media/photos", "data"])


@pytest.mark.parametrize("paths", [["media", "media/photos"], ["media", "./media/"]])
def test_shared_paths_that_lie_in_each_other_are_refused(paths: list[str]) -> None:
    said = problems(section(shared={"files": paths[:1], "dirs": paths[1:]}))
    assert "deploy.shared: shared paths may not lie in each other" in said


def test_several_stages_and_no_choice_lists_them() -> None:
    with pytest.raises(ConfigurationError) as caught:
        config.choose_stage(SECTION, "fabric.yaml")
    assert "staging, production" in str(caught.value)


def test_one_stage_needs_no_choice_and_default_stage_chooses() -> None:
    assert config.choose_stage({"stages": {"only": {}}}, "f") == "only"
    assert config.choose_stage({**SECTION, "default_stage": "staging"}, "f") == "staging"


def test_a_stage_that_is_nearly_right_is_suggested() -> None:
    with pytest.raises(ConfigurationError) as caught:
        config.choose_stage({**SECTION, "stage": "prodution"}, "fabric.yaml")
    assert "did you mean production?" in str(caught.value)


def test_no_value_makes_a_traceback() -> None:
    """Every key with each of several wrong values: one ConfigurationError, or valid."""
    for key in [*config.Settings.model_fields, "nonsense"]:
        for value in (None, 0, -1, "", "x", [], [1], {}, {"a": 1}, [{"host": 3}], True, 1e300):
            wrong = section(stages={"staging": {"hosts": value}}) if key == "hosts" else section(**{key: value})
            try:
                config.load(wrong, "staging", "f")
            except ConfigurationError as error:
                assert "deploy" in str(error)


def test_the_schema_for_editors_knows_every_key() -> None:
    schema = config.json_schema()
    deploy = schema["properties"]["deploy"]
    assert set(deploy["properties"]) == {*config.Settings.model_fields, *config.SECTION_KEYS}
    assert deploy["additionalProperties"] is False


def _accepted(document: dict[str, Any]) -> bool:
    """Whether `fab` accepts a section."""
    try:
        config.load(document, config.choose_stage({"default_stage": "staging", **document}, "f"), "f")
    except ConfigurationError:
        return False
    return True


@pytest.mark.parametrize(
    ("accepted", "changes"),
    [
        (True, {}),
        (True, {"stages": {"staging": ["web1"]}}),
        (True, {"stages": {"staging": ["web1", {"host": "web2", "primary": True}]}}),
        (True, {"stages": {"staging": {}}, "hosts": ["web1"]}),
        (True, {"stages": {"staging": {"hosts": ["a"], "health": {"timeout": 5}, "service": {"action": "reload"}}}}),
        (True, {"stages": {"staging": {"hosts": ["a"], "service": {"manager": "touch", "file": "reload"}}}}),
        (True, {"target": {"python": "3.11"}, "stages": {"staging": {"hosts": ["a"], "target": {"platform": "x"}}}}),
        (True, {"service": None, "health": None, "migrate": None, "stage": None}),
        (False, {"stages": {}}),
        (False, {"stages": {"staging": []}}),
        (False, {"stages": {"staging": "web1"}}),
        (False, {"stages": {"staging": None}}),
        (False, {"stages": {"staging": [{"primary": True}]}}),
        (False, {"stages": {"staging": [{"host": "a", "health": {"timeout": 5}}]}}),
        (False, {"stages": {"staging": {"hosts": ["a"], "helth": {}}}}),
        (False, {"service": {"manager": "sytemd"}}),
        (False, {"service": {"unit": "x.service", "program": "x"}}),
        (False, {"keep_releases": "many"}),
        (False, {"keep_releases": 0}),
        (False, {"helth": {}}),
    ],
)
def test_the_schema_for_editors_accepts_what_fab_accepts(accepted: bool, changes: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="requirements-dev.txt is not installed; CI installs it")
    document = section(**changes)
    assert _accepted(document) is accepted
    found = list(jsonschema.Draft202012Validator(config.json_schema()).iter_errors({"deploy": document}))
    assert not found if accepted else found
