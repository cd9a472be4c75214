"""The directories of an application are made relative to what is open: as root, a link could lead anywhere."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import pytest

from deploy.hostside import setup
from deploy.hostside.failure import Failure
from deploy.hostside.layout import Layout

ME = getpass.getuser()


def test_a_base_path_that_is_a_link_makes_nothing_where_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "app").symlink_to("elsewhere")
    with pytest.raises(Failure, match="app is not a directory"):
        setup.make(Layout(str(tmp_path / "app")), ME)
    assert os.listdir(tmp_path / "elsewhere") == []


@pytest.mark.parametrize("name", ["releases", "venvs", "wheels", "shared", ".deploy"])
def test_a_link_in_the_place_of_a_directory_is_refused_and_its_target_stays(tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(0o707)
    elsewhere.chmod(0o707)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / name).symlink_to(elsewhere)
    with pytest.raises(Failure, match=f"{name} is not a directory"):
        setup.make(Layout(str(tmp_path / "app")), ME)
    assert elsewhere.stat().st_mode & 0o777 == 0o707


def test_ones_own_link_on_the_way_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "srv").symlink_to("disk")
    (tmp_path / "absolute").symlink_to(tmp_path / "srv/made")
    changed = setup.make(Layout(str(tmp_path / "srv/made/app")), ME)["changed"]
    assert changed[0] == f"made {tmp_path}/srv/made"
    assert sorted(os.listdir(tmp_path / "disk/made/app")) == [".deploy", "releases", "shared", "venvs", "wheels"]
    assert setup.make(Layout(str(tmp_path / "absolute/app")), ME)["changed"] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user's link")
def test_somebody_elses_link_on_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "srv").symlink_to("elsewhere")
    os.chown(tmp_path / "srv", 65534, 65534, follow_symlinks=False)
    with pytest.raises(Failure, match="srv is a link that is neither root's nor our own"):
        setup.make(Layout(str(tmp_path / "srv/app")), ME)
    assert os.listdir(tmp_path / "elsewhere") == []


def test_links_that_lead_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(Failure, match="too many links"):
        setup.make(Layout(str(tmp_path / "one/app")), ME)
