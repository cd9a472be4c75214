"""Packages of the operating system: what is asked, and what is run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deploy.config import load
from deploy.errors import ConfigurationError
from deploy.host import packages
from deploy.hostside import packages as asked
from deploy.hostside.layout import Layout

LISTING = """\
libpq5\tlibpq5:amd64\tinstalled\t
libssl3t64\tlibssl3t64:amd64\tinstalled\tlibssl3 (= 3.5.1-1), libcrypto-thing
exim4\texim4:amd64\tconfig-files\tmail-transport-agent
"""


def test_a_package_is_there_by_its_name_its_architecture_or_what_it_provides() -> None:
    found = asked._installed_or_provided(LISTING)
    assert {"libpq5", "libpq5:amd64", "libssl3t64", "libssl3", "libcrypto-thing"} <= found
    assert found.isdisjoint({"exim4", "mail-transport-agent"}), "removed, and only its configuration is left"


@pytest.mark.skipif(asked.manager() != "apt" or not shutil.which("dpkg-query"), reason="this is no Debian")
def test_what_this_machine_lacks_is_told(tmp_path: Path) -> None:
    wanted = {"apt": ["dpkg", "no-such-package-at-all", "awk"], "dnf": ["other"], "pkg": []}
    answer = asked.look(Layout(str(tmp_path)), wanted)
    assert answer == {"manager": "apt", "lacking": ["no-such-package-at-all"]}, "awk is provided by mawk or gawk"


def test_a_name_that_is_no_package_is_refused_before_anything_runs() -> None:
    section = {"app": "a", "base_path": "/srv/a", "stages": {"p": ["web1"]}}
    for name in ("--purge", "a b", "$(id)", "libpq5;id", "A", "x" * 3 + "\n", "/tmp/a.deb"):
        with pytest.raises(ConfigurationError, match="is no name of a package"):
            load({**section, "system_packages": {"apt": [name]}}, "p", "fabric.yaml")
    good = load({**section, "system_packages": {"apt": ["libpq5", "libstdc++6", "libc6:amd64"]}}, "p", "fabric.yaml")
    assert good.system_packages.apt == ["libpq5", "libstdc++6", "libc6:amd64"]


def test_the_commands_are_those_of_the_package_managers() -> None:
    assert packages.install("apt", ["libpq5"]) == (
        "env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends libpq5"
    )
    assert packages.install("dnf", ["libpq", "libxml2"]) == "dnf install -y libpq libxml2"
    assert packages.install("pkg", ["postgresql16-client"]) == "pkg install -y postgresql16-client"


def test_a_bare_off_in_yaml_is_off() -> None:
    section = {"app": "a", "base_path": "/srv/a", "stages": {"p": ["web1"]}}
    assert load({**section, "check": {"imports": False}}, "p", "fabric.yaml").check.imports == "off"
    with pytest.raises(ConfigurationError, match=r"deploy\.check\.imports"):
        load({**section, "check": {"imports": True}}, "p", "fabric.yaml")
