"""Which units would give their processes two releases at once."""

from __future__ import annotations

import pytest

from deploy.hostside.mixing import of_unit

CURRENT = "/srv/app/current"


def told(command: str, environment: str = "") -> tuple[str, str]:
    path = command.split()[0]
    return f"{{ path={path} ; argv[]={command} ; ignore_errors=no ; pid=0 ; status=0/0 }}", environment


@pytest.mark.parametrize(
    "text",
    [
        told("/usr/bin/env .venv/bin/gunicorn app"),
        told("/usr/bin/env .venv/bin/python serve.py", "LANG=C PATH=/usr/bin"),
        told(f"{CURRENT}/.venv/bin/gunicorn app"),
        told("/srv/app/currently/.venv/bin/python serve.py"),
        ("", ""),
    ],
)
def test_a_unit_that_follows_the_link_once_is_well(text: tuple[str, str]) -> None:
    assert of_unit(*text, CURRENT) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (told(f"{CURRENT}/.venv/bin/python -m gunicorn app"), "/usr/bin/env .venv/bin/python"),
        (told(f"{CURRENT}/.venv/bin/python3.13 serve.py"), "python3.13"),
        (told(f"/usr/bin/env .venv/bin/gunicorn --chdir {CURRENT} app"), "--chdir"),
        (told(f"/usr/bin/env .venv/bin/gunicorn --chdir={CURRENT} app"), "--chdir"),
        (told(f"/usr/bin/env .venv/bin/gunicorn --pythonpath {CURRENT}/lib app"), "--pythonpath"),
        (told("/usr/bin/env .venv/bin/gunicorn", f"A=b PYTHONPATH=/opt:{CURRENT}"), "PYTHONPATH"),
        (told("/usr/bin/env gunicorn", f"PATH={CURRENT}/.venv/bin:/usr/bin"), "PATH"),
    ],
)
def test_a_unit_that_goes_through_the_link_is_told_what_to_change(text: tuple[str, str], expected: str) -> None:
    [doubt] = of_unit(*text, CURRENT)
    assert expected in doubt
