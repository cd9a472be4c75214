"""The manifest as a document: its schema, what is refused in it, its bill of materials, and what a lock file asks."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from deploy.bundle import Manifest, Origin, Target, Wheel, comparing, lockcheck, sbom
from deploy.bundle.locks import Terms, requirements
from deploy.bundle.manifest import BUILDERS, KINDS
from deploy.errors import BuildError

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs/bundle.schema.json").read_text())
BOOKWORM = Target.parse({"python": "3.11", "platform": "manylinux_2_36_x86_64"})
A, B, C = "a" * 64, "b" * 64, "c" * 64


def wheel(name: str, version: str = "1", sha256: str = A, size: int = 10, **origin: Any) -> Wheel:
    known = {"kind": "index", "sha256": sha256, **origin}
    return Wheel(f"{name}-{version}-py3-none-any.whl", sha256, size, name, version, Origin(**known))


def manifest(*wheels: Wheel) -> Manifest:
    return Manifest(BOOKWORM, "f" * 64, wheels, "fabric-wheelhouse 0.1.0")


EVERYTHING = manifest(
    wheel("plain", index="https://example.org/simple", url="https://example.org/plain-1-py3-none-any.whl"),
    wheel("built", sha256=B, kind="sdist", builder="zig", tools={"ziglang": "0.13"}, grafted=("/lib/libpq.so.5",)),
    wheel("ours", sha256=C, kind="vcs", url="https://example.org/ours.git", revision="1f2e3d4"),
)


def altered(**changes: Any) -> str:
    """A manifest whose first wheel is changed, with the digest that fits."""
    document = json.loads(manifest(wheel("a")).to_json())
    document["wheels"][0].update(changes)
    return json.dumps(document)


def test_the_schema_takes_every_manifest_and_has_exactly_the_fields_of_the_code() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="requirements-dev.txt is not installed; CI installs it")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads(EVERYTHING.to_json()), SCHEMA)
    whole = replace(BOOKWORM, manylinux_refused=(17,), ext_suffixes=(".so",))
    jsonschema.validate(json.loads(replace(EVERYTHING, target=whole).to_json()), SCHEMA)
    assert set(SCHEMA["$defs"]["Target"]["properties"]) == set(whole.document())
    for kind in (Wheel, Origin):
        described = SCHEMA["$defs"][kind.__name__]
        names = {field.name for field in fields(kind)}
        assert set(described["properties"]) == set(described["required"]) == names
    origin = SCHEMA["$defs"]["Origin"]["properties"]
    assert (tuple(origin["kind"]["enum"]), tuple(origin["builder"]["enum"])) == (KINDS, BUILDERS)
    assert set(SCHEMA["required"]) == set(json.loads(EVERYTHING.to_json()))


def test_what_was_written_by_schema_1_is_read() -> None:
    document = json.loads(manifest(wheel("a")).to_json())
    document["schema"] = 1
    for row in document["wheels"]:
        origin = row.pop("origin")
        row.update(source=origin["kind"], source_sha256=origin["sha256"])
    assert Manifest.from_json(json.dumps(document), "here") == manifest(wheel("a"))
    target = {"python": "3.11", "system": "linux", "machine": "x86_64", "libc": "glibc", "version": [2, 36]}
    document["target"] = target
    assert Manifest.from_json(json.dumps(document), "here") == manifest(wheel("a"))


@pytest.mark.parametrize(
    "changes",
    [
        {"filename": "../a-1-py3-none-any.whl"},
        {"filename": "a-2-py3-none-any.whl"},
        {"filename": "x/../../a-1-py3-none-any.whl"},
        {"sha256": "../../../etc"},
        {"size": -1},
        {"size": "10"},
        {"name": "b"},
        {"surprise": 1},
        {"origin": {"kind": "index", "sha256": B}},
        {"origin": {"kind": "index"}},
        {"origin": None},
        {"origin": {"kind": "index", "sha256": A, "url": "https://example.org/\x1b[2J"}},
        {"origin": {"kind": "index", "sha256": A, "url": 5}},
        {"origin": {"kind": "index", "sha256": A, "tools": []}},
        {"origin": {"kind": "magic", "sha256": A}},
    ],
)
def test_a_manifest_that_leads_elsewhere_or_contradicts_itself_is_none(changes: dict[str, Any]) -> None:
    with pytest.raises(BuildError, match="this is no manifest"):
        Manifest.from_json(altered(**changes), "here")


@pytest.mark.parametrize(
    "target", [{"machine": "../x"}, {"version": "2.99999999"}, {"python": "3.9999999"}, {"libc": "\x1b"}]
)
def test_a_target_that_leads_elsewhere_or_lasts_for_ever_is_none(target: dict[str, Any]) -> None:
    document = json.loads(manifest(wheel("a")).to_json())
    document["target"].update(target)
    with pytest.raises(BuildError, match="this is no manifest"):
        Manifest.from_json(json.dumps(document), "here")


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"schema": "x"}', '{"schema": 2}', "[" * 100_000])
def test_what_is_no_manifest_at_all_is_said_in_one_message(text: str) -> None:
    with pytest.raises(BuildError, match="this is no manifest"):
        Manifest.from_json(text, "here")


def test_a_password_in_a_url_gets_into_no_manifest() -> None:
    origin = Origin("index", A, "https://ana:hunter2@example.org:8443/simple", "https://token@example.org/a.whl")
    assert (origin.index, origin.url) == ("https://example.org:8443/simple", "https://example.org/a.whl")


def test_the_bill_of_materials_is_valid_cyclonedx() -> None:
    pytest.importorskip("cyclonedx", reason="requirements-dev.txt is not installed; CI installs it")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.V1_6)
    for stamp in ("", "2026-11-21T00:00:00Z"):
        error = validator.validate_str(sbom.document(EVERYTHING, stamp))
        assert error is None, error
    bill = json.loads(sbom.document(EVERYTHING))
    assert bill["components"][0]["purl"] == "pkg:pypi/plain@1?file_name=plain-1-py3-none-any.whl"
    assert [each["hashes"][0]["content"] for each in bill["components"]] == [A, B, C]


def test_the_bill_of_materials_has_no_time_and_no_chance_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert sbom.document(EVERYTHING, sbom.time_stamp()) == sbom.document(EVERYTHING)
    assert "timestamp" not in sbom.document(EVERYTHING)
    other = sbom.document(replace(EVERYTHING, lock_sha256="e" * 64))
    assert json.loads(other)["serialNumber"] != json.loads(sbom.document(EVERYTHING))["serialNumber"]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert sbom.stamp_of(sbom.document(EVERYTHING, sbom.time_stamp())) == "1970-01-02T00:00:00Z"


def pins(directory: Path, text: str) -> Any:
    path = directory / "requirements.txt"
    path.write_text(text)
    return requirements.read(path, Terms()).select(BOOKWORM)


def test_a_bundle_that_is_not_what_the_lock_file_asks_for_is_told_by_name(tmp_path: Path) -> None:
    asked = pins(
        tmp_path,
        f"one==1 --hash=sha256:{A}\ntwo==2 --hash=sha256:{B}\nthree==3 --hash=sha256:{C}\n"
        f"old==1 ; python_version < '3.9' --hash=sha256:{C}\n",
    )
    given = manifest(wheel("two", "2.1", B), wheel("three", "3", A), wheel("evil"))
    assert lockcheck.problems(asked, given) == [
        "it lacks one 1",
        "its three 3 is made of a file that is not in the lock file",
        "it has two 2.1, and 2 is locked",
        "it has evil 1, which is not in the lock file",
    ]
    foreign = replace(wheel("one"), filename="one-1-cp312-cp312-win_amd64.whl")
    assert lockcheck.problems(asked[:1], manifest(foreign)) == [
        "its one-1-cp312-cp312-win_amd64.whl does not fit cp311-manylinux_2_36_x86_64"
    ]
    right = manifest(wheel("one"), wheel("two", "2", C, kind="sdist"), wheel("three", "3", C))
    assert lockcheck.problems(asked, right) == ["its two 2 is made of a file that is not in the lock file"]


def test_a_difference_has_packages_and_the_bytes_that_have_to_be_sent() -> None:
    former = manifest(wheel("same"), wheel("gone", sha256=B), wheel("grown", "1", C))
    new = manifest(wheel("same"), wheel("grown", "2", "d" * 64, 300), wheel("fresh", sha256="e" * 64, size=20))
    found = comparing.compare(former, new)
    assert [each.name for each in found.added] == ["fresh"]
    assert [each.name for each in found.removed] == ["gone"]
    assert [(before.version, after.version) for before, after in found.changed] == [("1", "2")]
    assert found.to_send == 320
    assert comparing.compare(former, former).nothing
