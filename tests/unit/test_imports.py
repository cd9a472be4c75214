"""Imports are looked up in a release and in directories of modules; no code of either is executed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deploy.hostside import imports, modulefinder, sources

BOOM = "raise RuntimeError('executed')\n"


class Trees:
    """A release and what is installed, made of files; :meth:`lacking` says what does not resolve."""

    def __init__(self, directory: Path) -> None:
        self.release = directory / "release"
        self.packages = directory / "library"
        self.release.mkdir()
        self.packages.mkdir()

    def app(self, **files: str) -> Trees:
        return self._write(self.release, files)

    def installed(self, **files: str) -> Trees:
        return self._write(self.packages, files)

    def _write(self, root: Path, files: dict[str, str]) -> Trees:
        for name, text in files.items():
            path = root / (name.replace("__in__", "/").replace("/init", "/__init__") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return self

    def lacking(self) -> list[str]:
        found, _ = sources.read_all(str(self.release), {})
        library = [*modulefinder.standard_library(), str(self.packages)]
        resolver = imports.Resolver(str(self.release), library, found)
        return [
            str(lack) for file, said in found.items() for each in said.imports if (lack := resolver.lacking(file, each))
        ]


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    return Trees(tmp_path)


def test_what_is_installed_built_in_or_of_the_standard_library_resolves(trees: Trees) -> None:
    trees.installed(flask__in__init=BOOM, flask__in__views=BOOM, six=BOOM)
    trees.app(
        main="import sys, json, os.path, xml.etree.ElementTree, _ctypes, __main__\n"
        "from __future__ import annotations\nfrom collections.abc import Mapping\n"
        "import flask.views, six\nfrom flask import Flask, views\n"
    )
    assert trees.lacking() == []


def test_a_module_that_is_nowhere_is_told_with_file_and_line(trees: Trees) -> None:
    trees.installed(requests__in__init="")
    trees.app(app__in__init="", app__in__views="import json\nimport reqests\nfrom requests.nothing import x\n")
    assert trees.lacking() == [
        "app/views.py:2: import reqests: there is no reqests",
        "app/views.py:3: from requests.nothing import x: there is no requests.nothing in the venv",
    ]


def test_the_applications_own_modules_resolve_from_the_release_and_from_their_own_folder(trees: Trees) -> None:
    trees.app(
        manage="import shop.settings\nfrom shop import models\n",
        shop__in__init="",
        shop__in__settings="from shop.models import Order\n",
        shop__in__models="from . import settings\nfrom .settings import DEBUG\nfrom ..shop import settings\n",
        scripts__in__run="import helper\n",
        scripts__in__helper="",
    )
    assert trees.lacking() == []


def test_a_module_of_the_application_that_did_not_come_along_is_told(trees: Trees) -> None:
    trees.app(
        shop__in__init="",
        shop__in__views="import shop.gone\nfrom shop import forms\nfrom . import forms\nfrom .gone import x\n"
        "from ... import y\n",
    )
    assert trees.lacking() == [
        "shop/views.py:1: import shop.gone: there is no shop.gone in the release",
        "shop/views.py:2: from shop import forms: shop has no module forms, and its __init__.py does not define it",
        "shop/views.py:3: from . import forms: . has no module forms, and its __init__.py does not define it",
        "shop/views.py:4: from .gone import x: there is no .gone in the release",
        "shop/views.py:5: from ... import y: it leaves the release",
    ]


def test_a_name_that_a_package_defines_or_may_make_is_taken_for_granted(trees: Trees) -> None:
    trees.app(
        a__in__init="version = 1\n",
        b__in__init="def __getattr__(name): ...\n",
        c__in__init="from a import *\n",
        main="from a import version\nfrom b import anything\nfrom c import anything\nfrom a.sub import anything\n",
        a__in__sub="",
    )
    assert trees.lacking() == []


def test_a_layout_with_src_and_folders_that_settings_put_on_the_path_resolve(trees: Trees) -> None:
    trees.app(
        manage="import shop.settings, company.billing.models\n",
        src__in__shop__in__init="",
        src__in__shop__in__settings="import blog.models\n",
        src__in__company__in__billing__in__models="import company.billing\n",
        apps__in__blog__in__init="",
        apps__in__blog__in__models="import blog\n",
    )
    assert trees.lacking() == []


def test_a_folder_without_code_is_not_taken_for_a_module(trees: Trees) -> None:
    (trees.release / "redis").mkdir()
    (trees.release / "redis/redis.conf").write_text("port 6379\n")
    trees.app(main="import redis\n")
    assert trees.lacking() == ["main.py:1: import redis: there is no redis"]


def test_a_module_of_the_application_does_not_hide_an_installed_one_of_its_name(trees: Trees) -> None:
    trees.installed(redis__in__init="", redis__in__client="")
    trees.app(
        shop__in__init="",
        shop__in__email="import email.mime.text\n",
        shop__in__redis="import redis.client\nfrom redis import client\n",
    )
    assert trees.lacking() == []


def test_a_namespace_is_shared_by_what_is_installed_and_by_the_application(trees: Trees) -> None:
    trees.installed(google__in__cloud__in__storage="")
    trees.app(
        google__in__ours__in__init="",
        main="import google.cloud.storage, google.ours\n"
        "from google.cloud import storage\nfrom google.cloud import gone\n",
    )
    assert trees.lacking() == ["main.py:3: from google.cloud import gone: google.cloud has no module gone"]


def test_files_of_development_are_not_looked_at(trees: Trees) -> None:
    names = ("fabfile", "setup", "conftest", "tests", "test_views", "views_test", "tests__in__helper", "docs__in__conf")
    trees.app(**dict.fromkeys(names, "import pytest_and_more\n"))
    assert trees.lacking() == []


def test_links_are_not_followed(trees: Trees, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.py").write_text("import nowhere\n")
    (trees.release / "media").symlink_to(tmp_path / "elsewhere")
    (trees.release / "b.py").symlink_to(tmp_path / "elsewhere/a.py")
    assert trees.lacking() == []


def test_a_name_of_a_file_that_no_terminal_shows_is_spelt(trees: Trees) -> None:
    (trees.release / "new\nline\x1b[2J.py").write_text("import nowhere\n")
    assert trees.lacking() == ["new\\nline\\x1b[2J.py:1: import nowhere: there is no nowhere"]


def test_modules_that_have_no_file_are_asked_of_the_interpreter() -> None:
    names = ["os.path", "json.nothing", "nowhere_at_all", "xml.etree"]
    assert imports.not_importable(sys.executable, names) == {"json.nothing", "nowhere_at_all"}


def test_a_module_that_ends_the_interpreter_does_not_end_the_check(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec env PYTHONPATH={tmp_path} {sys.executable} "$2" "$3"\n')
    python.chmod(0o755)
    (tmp_path / "killer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    (tmp_path / "refuser.py").write_text("raise RuntimeError('not configured')\n")
    (tmp_path / "needer.py").write_text("import nowhere_at_all\n")
    names = ["nowhere", "killer", "needer", "refuser", "gone"]
    assert imports.not_importable(str(python), names) == {"nowhere", "gone"}


def test_a_file_that_was_read_before_is_not_read_again(trees: Trees) -> None:
    trees.app(a="import json\n", b="import os\n", p__in__init="")
    _, remembered = sources.read_all(str(trees.release), {})
    remembered = {key: [[[1, 0, "from_memory", None, False]], None, ""] for key in remembered}
    trees.app(b="import sys\n")
    found, remembered = sources.read_all(str(trees.release), remembered)
    assert {path: [each.module for each in said.imports] for path, said in found.items()} == {
        "a.py": ["from_memory"],
        "b.py": ["sys"],
        "p/__init__.py": ["from_memory"],
    }
    assert len(remembered) == 3, "what is gone is forgotten"
