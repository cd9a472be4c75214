"""What commands say while they run, line by line: for Fabric's `run` and `sudo`, which know streams only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .limits import Limit

Say = Callable[[str], None]


class Lines:
    """A stream that hands on whole lines.

    :param say: called with each line, without its end.
    :param without: a text that is no part of what is said, such as a prompt.
    """

    def __init__(self, say: Say, without: str = "") -> None:
        self._say = say
        self._without = without
        self._rest = ""

    def write(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        for line in lines:
            self._hand_on(line)

    def flush(self) -> None:
        """A part of a line waits for its end."""

    def close(self) -> None:
        """The end: what is no whole line is handed on, too."""
        rest, self._rest = self._rest, ""
        if rest:
            self._hand_on(rest)

    def _hand_on(self, line: str) -> None:
        cleaned = line.replace(self._without, "") if self._without else line
        if cleaned or cleaned == line:
            self._say(cleaned)


class Heard:
    """Mixed into Invoke's context or Fabric's connection: what its commands say goes to somebody, while there is one.

    Who asks for something else (``hide``, ``out_stream``) gets that.

    :ivar limit: of the time that they may take, where there is one: see :mod:`deploy.host.limits`.
    """

    say: Say | None = None
    limit: Limit | None = None

    def run(self, command: str, **keywords: Any) -> Any:
        return self._heard("run", command, keywords)

    def sudo(self, command: str, **keywords: Any) -> Any:
        return self._heard("sudo", command, keywords)

    def _heard(self, verb: str, command: str, keywords: dict[str, Any]) -> Any:
        run: Callable[..., Any] = getattr(super(), verb)
        config: Any = self.config  # type: ignore[attr-defined]
        own = {"hide", "out_stream", "err_stream"} & keywords.keys() or config.run.hide
        if self.say is None or own:
            return run(command, **keywords)
        streams = [Lines(self.say, config.sudo.prompt) for _ in range(2)]
        # Nobody sits there to type, and several hosts would share what is typed.
        keywords.setdefault("in_stream", False)
        try:
            return run(command, out_stream=streams[0], err_stream=streams[1], **keywords)
        finally:
            for stream in streams:
                stream.close()
