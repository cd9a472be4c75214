"""``python3 hostside.pyz run BASE RELEASE COMMAND``: the host program as a person, or a hook, calls it."""

from __future__ import annotations

import sys

from .failure import Failure


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["run"]:
        from . import runner

        try:
            runner.command_line(arguments[1:])
        except (Failure, OSError) as error:
            sys.exit(f"deploy: {error}")
    sys.exit("usage: python3 hostside.pyz run BASE RELEASE COMMAND")


if __name__ == "__main__":
    main(sys.argv[1:])
