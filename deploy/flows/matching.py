"""Which target a host's bundle is made for, and how far the host is from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..bundle import Target, targetfile
from ..config import TargetSettings, relative_to
from ..config.spelling import nearly
from ..errors import ConfigurationError
from ..host.connection import Host
from . import asking
from .run import Run

CONFIGURED = "deploy.target"
"""What a target without a file is called where a host does not match it."""


@dataclass(frozen=True, slots=True)
class Match:
    """A host and the target that was chosen for it.

    :ivar target: what the host's bundle is made for.
    :ivar name: the target's file, or :data:`CONFIGURED`.
    :ivar found: what the host is.
    """

    target: Target
    name: str
    found: Target

    @property
    def fits(self) -> bool:
        """Whether every wheel for the target can be installed and imported on the host."""
        return self.found.takes_wheels_of(self.target)


def named(run: Run) -> dict[str, Target]:
    """The targets that the configuration names, by their files; {} where the hosts are asked.

    :raises ConfigurationError: a file cannot be read, or is no target file.
    """
    configured = run.settings.target
    if configured == "local":
        return {CONFIGURED: Target.local()}
    if not isinstance(configured, TargetSettings):
        return {}
    if configured.files:
        return {name: targetfile.read(relative_to(run.directory, name)) for name in configured.files}
    return {CONFIGURED: Target.parse({"python": configured.python, "platform": configured.platform})}


def asked_for(run: Run, words: str) -> dict[str, Target]:
    """The targets that ``--target`` names, by their files.

    :param words: names of files in ``targets/``, with or without their ending, separated by commas.
    :raises ConfigurationError: there is no such file, or it is no target file.
    """
    folder = run.directory / targetfile.FOLDER
    known = [path.stem for path in targetfile.written(folder)]
    wanted = [word.strip().removeprefix(f"{targetfile.FOLDER}/").removesuffix(".json") for word in words.split(",")]
    wanted = [word for word in wanted if word]
    if not wanted:
        raise ConfigurationError("it names no target", where="--target", hint=_known(run, known))
    for name in wanted:
        if name not in known:
            raise ConfigurationError(
                f"there is no {targetfile.FOLDER}/{name}.json{nearly(name, known)}",
                where="--target",
                hint=_known(run, known),
            )
    return {f"{targetfile.FOLDER}/{name}.json": targetfile.read(folder / f"{name}.json") for name in wanted}


def _known(run: Run, known: list[str]) -> str:
    return f"there are: {', '.join(known)}" if known else f"{run.fab('targets')} writes such files"


def match(run: Run, host: Host) -> Match:
    """The target that *host* gets its bundle for: its own, or of those that the configuration names the nearest."""
    found = Target.from_facts(run.facts[host])
    return nearest(named(run), found) or Match(found, "", found)


def nearest(targets: Mapping[str, Target], found: Target) -> Match | None:
    """Of *targets*, the one that *found* is; else the one that it takes wheels of and differs least from."""
    matches = [Match(target, name, found) for name, target in targets.items()]
    return min(matches, key=_distance, default=None)


def _distance(matched: Match) -> tuple[bool, int, int]:
    # Of two that are as near, the one with more tags asks more of a host, so its wheels are the newer ones.
    return not matched.fits, len(matched.target.differences(matched.found)), -len(matched.target.tags())


def problems(run: Run, host: Host) -> list[str]:
    """Why the bundle that would be made for *host* may not fit it; empty where it does."""
    matched = match(run, host)
    if matched.target == matched.found:
        return []
    if not matched.fits:
        return [f"{_differs(matched)}; {_remedy(run, matched)}"]
    if lacking := _lacking(run, matched):
        return [f"the bundle for {matched.name} would lack {lacking}: {_differs(matched)}; {_remedy(run, matched)}"]
    return []


def warn(run: Run) -> None:
    """Say which hosts are no longer what the target files say, where their wheels fit all the same."""
    kept = _kept(run)
    for host in run.hosts:
        matched = nearest(kept, Target.from_facts(run.facts[host]))
        if matched and matched.target != matched.found:
            run.report.warn(f"{_differs(matched)}; {_remedy(run, matched)}", host.name)


def _kept(run: Run) -> dict[str, Target]:
    configured = run.settings.target
    if isinstance(configured, TargetSettings):
        # A target that is named without a file says less than a host does, on purpose.
        return named(run) if configured.files else {}
    if configured == "local":
        return {}
    # The hosts were asked, so their bundles fit; but where files are kept, others make bundles from them.
    try:
        files = targetfile.written(run.directory / targetfile.FOLDER)
        return {f"{targetfile.FOLDER}/{path.name}": targetfile.read(path) for path in files}
    except ConfigurationError as error:
        run.report.warn(str(error))
        return {}


def _differs(matched: Match) -> str:
    return f"is not what {matched.name} says: {'; '.join(matched.target.differences(matched.found))}"


def _remedy(run: Run, matched: Match) -> str:
    if matched.name == CONFIGURED:
        return "correct it, or let the hosts be asked (target: auto)"
    return f"{run.fab('targets')} writes it anew"


def _lacking(run: Run, matched: Match) -> str:
    """What the host's own markers ask for, and the target's do not."""
    wanted = asking.wanted_by(run)
    bundled = {pin.label for pin in wanted.pins(matched.target)}
    return ", ".join(pin.label for pin in wanted.pins(matched.found) if pin.label not in bundled)
