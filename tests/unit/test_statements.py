"""Which imports a file has, and which of them it may do without: small programs, read and never run."""

from __future__ import annotations

import textwrap

import pytest

from deploy.hostside import statements


def guards(source: str) -> dict[str, bool]:
    """Module → whether its import is guarded."""
    found = statements.read(textwrap.dedent(source).encode())
    assert not found.problem
    return {each.module: each.guarded for each in found.imports}


def test_every_form_of_an_import_is_found_with_its_line() -> None:
    source = (
        b"import a.b, c\nfrom d.e import f, g as h\nfrom . import i\nfrom ..j import *\n\n\ndef run():\n    import k\n"
    )
    assert [(each.line, str(each)) for each in statements.read(source).imports] == [
        (1, "import a.b"),
        (1, "import c"),
        (2, "from d.e import f, g"),
        (3, "from . import i"),
        (4, "from ..j import *"),
        (8, "import k"),
    ]


@pytest.mark.parametrize(
    "source",
    [
        "import x",
        "def run():\n    import x",
        "class A:\n    def run(self):\n        import x",
        "async def run():\n    async with y:\n        import x",
        "for i in y:\n    import x",
        "while y:\n    pass\nelse:\n    import x",
        "with open(y):\n    import x",
        "if y:\n    import x",
        "try:\n    import x\nexcept ValueError:\n    pass",
        "try:\n    import x\nexcept ImportError:\n    raise SystemExit('install x')",
        "try:\n    import x\nexcept ImportError as error:\n    print(error)\n    sys.exit(1)",
        "try:\n    import x\nfinally:\n    pass",
        "try:\n    pass\nexcept ImportError:\n    pass\nfinally:\n    import x",
        "if TYPE_CHECKING:\n    pass\nelse:\n    import x",
        "if not TYPE_CHECKING:\n    import x",
        "with suppress(ValueError):\n    import x",
        "match y:\n    case 1:\n        import x",
        "if __name__ == '__main__':\n    import x",
    ],
)
def test_an_import_that_has_to_resolve(source: str) -> None:
    assert guards(source) == {"x": False}


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    import x\nexcept ImportError:\n    x = None",
        "try:\n    import x\nexcept (AttributeError, ModuleNotFoundError):\n    pass",
        "try:\n    import x\nexcept Exception:\n    pass",
        "try:\n    import x\nexcept:\n    pass",
        "try:\n    if y:\n        import x\nexcept builtins.ImportError:\n    pass",
        "try:\n    pass\nexcept ImportError:\n    import x",
        "try:\n    pass\nexcept ImportError:\n    pass\nelse:\n    import x",
        "def run():\n    try:\n        import x\n    except ImportError:\n        return None",
        "if TYPE_CHECKING:\n    import x",
        "if typing.TYPE_CHECKING:\n    import x",
        "if not t.TYPE_CHECKING:\n    pass\nelse:\n    import x",
        "if sys.platform == 'win32':\n    import x",
        "if sys.platform == 'win32':\n    pass\nelse:\n    import x",
        "if sys.platform == 'win32':\n    pass\nelif y:\n    import x",
        "if os.name == 'nt':\n    import x",
        "if platform.system() == 'Darwin':\n    import x",
        "if sys.version_info >= (3, 11):\n    import x",
        "if sys.version_info[0] == 2:\n    import x",
        "if six.PY2:\n    import x",
        "if PY314:\n    import x",
        "if settings.DEBUG:\n    import x",
        "if importlib.util.find_spec('x'):\n    import x",
        "if 'x' in sys.modules:\n    import x",
        "with contextlib.suppress(ImportError):\n    import x",
    ],
)
def test_an_import_that_the_program_may_do_without(source: str) -> None:
    assert guards(source) == {"x": True}


def test_what_is_tried_once_is_optional_in_the_whole_file() -> None:
    source = """
        try:
            import redis
            HAS_REDIS = True
        except ImportError:
            HAS_REDIS = False
        if HAS_REDIS:
            from redis.cluster import Cluster
        import json
        """
    assert guards(source) == {"redis": True, "redis.cluster": True, "json": False}


def test_what_is_imported_for_types_alone_is_not_optional_elsewhere() -> None:
    source = "if TYPE_CHECKING:\n    import x\n\ndef run():\n    import x\n"
    assert [each.guarded for each in statements.read(source.encode()).imports] == [True, False]


@pytest.mark.parametrize(
    ("source", "problem"),
    [(b"import (\n", "1: "), (b"\0", "1: "), (b"{{ template }}\nimport {{ x }}\n", "2: "), (b"# coding: no\n", "1: ")],
)
def test_what_is_no_python_is_said_and_not_an_error(source: bytes, problem: str) -> None:
    assert statements.read(source).problem.startswith(problem)


def test_the_encoding_of_a_file_is_its_own() -> None:
    source = "# -*- coding: latin-1 -*-\nname = 'é'\nimport a\n".encode("latin-1")
    assert [each.module for each in statements.read(source).imports] == ["a"]


def test_the_names_of_a_package_are_known_where_nothing_makes_others() -> None:
    known = statements.read_package(b"import a.b\nfrom c import d as e\nfrom . import sub\nX, y = 1, 2\ndef f(): ...\n")
    assert known.binds == ["X", "a", "e", "f", "y"]
    for source in (b"from a import *", b"def __getattr__(name): ...", b"globals()['x'] = 1", b"sys.modules[x] = y"):
        assert statements.read_package(source).binds is None
