"""What of a service is restarted by itself, and which services a configuration may describe."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from deploy.config import Health, Service, load
from deploy.errors import ConfigurationError
from deploy.service import manager

BASE = "/srv/app"


def service(**keys: Any) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(Service)
    return adapter.validate_python({"manager": "systemd", **keys})


def commands(**keys: Any) -> list[str]:
    return [str(manager.restart(part.service, BASE)) for part in manager.parts(service(**keys))]


def test_units_are_restarted_in_the_order_in_which_they_are_named() -> None:
    assert commands(units=["web.service", "worker.service"]) == [
        "systemctl restart web.service",
        "systemctl restart worker.service",
    ]


def test_instances_of_a_template_are_numbered_or_named() -> None:
    assert commands(unit="app@.service", instances=2, action="reload") == [
        "systemctl reload app@1.service",
        "systemctl reload app@2.service",
    ]
    mixed = commands(units=["app@.service", "worker.service"], instances=[8001, "b"])
    assert [line.split()[-1] for line in mixed] == ["app@8001.service", "app@b.service", "worker.service"]


def test_a_single_part_is_not_called_by_its_name_and_several_are() -> None:
    assert [part.name for part in manager.parts(service(unit="web.service"))] == [""]
    assert [part.name for part in manager.parts(service(units=["a.service", "b.service"]))] == [
        "a.service",
        "b.service",
    ]


def test_only_instances_have_a_health_of_their_own() -> None:
    health = Health(url="http://127.0.0.1:{instance}/")
    parts = manager.parts(service(units=["app@.service", "worker.service"], instances=[8001, 8002]))
    own = [part.health(health) for part in parts]
    assert [each and each.url for each in own] == ["http://127.0.0.1:8001/", "http://127.0.0.1:8002/", None]
    assert parts[0].health(Health(url="http://127.0.0.1/")) is None


def test_of_a_template_one_instance_is_described_for_all() -> None:
    told = manager.descriptions(service(units=["app@.service", "worker.service"], instances=3), BASE)
    assert [each["unit"] for each in told] == ["app@1.service", "worker.service"]
    assert manager.descriptions(None, BASE) == []


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, "either unit or units"),
        ({"unit": "a.service", "units": ["b.service"]}, "either unit or units"),
        ({"units": ["a.service", "a.service"]}, "named twice"),
        ({"unit": "app@.service"}, "app@.service is a template; instances says which"),
        ({"unit": "app.service", "instances": 2}, "instances is for a template, such as app@.service"),
        ({"unit": "app@.service", "instances": 0}, "a number from 1 to 100"),
        ({"unit": "app@.service", "instances": True}, "a number from 1 to 100"),
        ({"unit": "app@.service", "instances": []}, "a number from 1 to 100"),
        ({"unit": "app@.service", "instances": ["a b"]}, "'a b' cannot be the name of an instance"),
        ({"unit": "app@.service", "instances": [1, "1"]}, "named twice"),
        ({"unit": "-app.service"}, "must be the name of a unit"),
        ({"units": ["web.service", "web.socket"]}, "closes its socket"),
    ],
)
def test_what_cannot_be_restarted_is_refused(keys: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        service(**keys)


@pytest.mark.parametrize(
    ("keys", "url", "expected"),
    [
        ({"unit": "app.service"}, "http://127.0.0.1:{instance}/", "health.url: {instance} is for a template"),
        ({"unit": "app@.service", "instances": ["a"]}, "http://127.0.0.1:{instance}/", "http://127.0.0.1:a/ is no URL"),
        ({"unit": "app@.service", "instances": "many"}, "http://[::1]/", "service.instances: must be a number from 1"),
        ({"units": ["a.service", "b.socket"]}, "http://[::1]/", "service.units: b.socket closes its socket"),
    ],
)
def test_the_configuration_says_where_it_is_wrong(keys: dict[str, Any], url: str, expected: str) -> None:
    section = {
        "app": "app",
        "base_path": BASE,
        "service": {"manager": "systemd", **keys},
        "health": {"url": url},
        "stages": {"production": {"hosts": ["web1"]}},
    }
    with pytest.raises(ConfigurationError) as caught:
        load(section, "production", "fabric.yaml")
    assert expected in str(caught.value)
    assert "1 problem" in str(caught.value) or "a problem" in str(caught.value)
