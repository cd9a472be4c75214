"""How each service manager is told to restart: pure functions that return command lines. Nothing is run here."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ..config import Command, Health, Service, Signal, Supervisor, Systemd, Touch, is_template


@dataclass(frozen=True, slots=True)
class ServiceCommand:
    """A command line and who runs it.

    :ivar words: the command; its first word is what a sudoers rule has to name.
    :ivar user: ``root``, or '' for the deploy user.
    :ivar configured: what the configuration calls it, where that is something else than the words.
    :ivar inside: the shell command that is to run inside the release with its environment; the words are how a person
        does the same there.
    """

    words: tuple[str, ...]
    user: str = ""
    configured: str = ""
    inside: str = ""

    def __str__(self) -> str:
        return shlex.join(self.words)


@dataclass(frozen=True, slots=True)
class Part:
    """What is restarted and looked at by itself: a service, or one of its units.

    :ivar service: as if it were the only one.
    :ivar name: the unit, where there are several; else ''.
    :ivar instance: of a template; else ''.
    """

    service: Service
    name: str = ""
    instance: str = ""

    def health(self, health: Health | None) -> Health | None:
        """What is asked of this part alone, where it can be."""
        return health.of(self.instance) if health and health.by_instance and self.instance else None


def parts(service: Service) -> list[Part]:
    """What of *service* is restarted, in order."""
    if not isinstance(service, Systemd):
        return [Part(service)]
    found = [
        (unit.replace("@.", f"@{instance}."), instance)
        for unit in service.named
        for instance in (service.instance_names if is_template(unit) else [""])
    ]
    several = len(found) > 1
    return [Part(_alone(service, unit), unit if several else "", instance) for unit, instance in found]


def _alone(service: Systemd, unit: str) -> Systemd:
    return service.model_copy(update={"unit": unit, "units": [], "instances": None})


def restart(service: Service, base: str, in_release: Sequence[str] = ()) -> ServiceCommand:
    """The command that makes *service*, a part's, run the current release.

    :param base: the application's base path on the host.
    :param in_release: the words that run a shell command (their last argument) inside the live release.
    """
    user = "root" if service.sudo else ""
    match service:
        case Systemd():
            return systemctl(service, service.action, service.unit)
        case Supervisor():
            return ServiceCommand(("supervisorctl", "restart", service.program), user)
        case Signal():
            pidfile = below(base, service.pidfile)
            lacking = f"{{ echo {shlex.quote(f'there is no number of a process in {pidfile}')} >&2; exit 1; }}"
            script = f'{_read_number(pidfile)} || {lacking}; kill -{service.signal} "$number"'
            return ServiceCommand(("sh", "-c", script), user)
        case Touch():
            # Root follows no link that the application may have put there, and makes no file where it leads to.
            no_link = ("-h",) if service.sudo else ()
            return ServiceCommand(("touch", *no_link, below(base, service.file)), user)
        case Command():
            if service.sudo:
                script = f"cd {shlex.quote(below(base, 'current'))} && {service.command}"
                return ServiceCommand(("sh", "-c", script), user, service.command)
            return ServiceCommand((*in_release, service.command), configured=service.command, inside=service.command)


def hands_over(service: Service) -> bool:
    """Whether the process starts its own successor, which is looked at before the former one is ended."""
    return isinstance(service, Signal) and service.retire is not None


def successors_pidfile(service: Signal, base: str) -> str:
    return f"{below(base, service.pidfile)}.2"


def number(service: Signal, base: str) -> ServiceCommand:
    """The command that prints the main process's number; it waits while a successor takes over the pidfile."""
    known = f'{_read_number(below(base, service.pidfile))} && kill -0 "$number" && echo "$number" && exit'
    script = f"for i in $(seq 50); do {known}; sleep 0.2; done; exit 1"
    return ServiceCommand(("sh", "-c", f"{{ {script}; }} 2>/dev/null"), "root" if service.sudo else "")


def retire(service: Signal, number: int) -> ServiceCommand:
    """The command that ends the former process, when its successor is well."""
    return ServiceCommand(("sh", "-c", f"kill -{service.retire} {number}"), "root" if service.sudo else "")


def dismiss(service: Signal, base: str, number: int) -> ServiceCommand:
    """The command that ends the successor of process *number*, where there is one, and waits until it is gone.

    A pidfile may be left from long ago, so its process has to be a child of that one.
    """
    child = f"grep -q '^PPid:[[:space:]]*{number}$' \"/proc/$number/status\""
    wait = 'while kill -0 "$number"; do sleep 0.1; done'
    script = f'{_read_number(successors_pidfile(service, base))} && {child} && kill -TERM "$number" && {wait}'
    return ServiceCommand(("sh", "-c", f"{{ {script}; }} 2>/dev/null"), "root" if service.sudo else "")


def _read_number(pidfile: str) -> str:
    """The part of a shell line that reads ``number`` from *pidfile*, and fails where it is none of a process.

    What the application writes there, root may act on: -1 would be every process, a pipe would never end, and the words
    of another file would be quoted by kill(1).
    """
    file = shlex.quote(pidfile)
    return f'test -f {file} && number=$(cat {file}) && case "$number" in ""|0*|1|*[!0-9]*) false;; esac'


def inspect(service: Service) -> ServiceCommand | None:
    """The command that tells why a restart failed, None where the manager has none."""
    match service:
        case Systemd():
            return systemctl(service, "status", "--no-pager", "--full", "--lines=15", service.unit)
        case Supervisor():
            user = "root" if service.sudo else ""
            return ServiceCommand(("supervisorctl", "tail", service.program.rstrip(":*"), "stderr"), user)
    return None


def forget_failures(service: Service) -> ServiceCommand | None:
    """The command that lets a unit be started again that was started too often (systemd.unit(5), StartLimitBurst=);
    None where the manager counts no starts.
    """
    return systemctl(service, "reset-failed", service.unit) if isinstance(service, Systemd) else None


def open_again(service: Service, socket: str) -> list[ServiceCommand]:
    """The commands that have systemd listen again on a socket that failed: it gives up one whose service was started
    too often, and starts none while its service runs.
    """
    assert isinstance(service, Systemd)
    return [
        systemctl(service, "stop", service.unit),
        systemctl(service, "reset-failed", service.unit, socket),
        systemctl(service, "start", socket),
    ]


def systemctl(service: Systemd, *words: str) -> ServiceCommand:
    """A command of systemctl, for the manager that has the unit."""
    if service.user:
        return _of_users_manager(*words)
    return ServiceCommand(("systemctl", *words), "root" if service.sudo else "")


def _of_users_manager(*words: str) -> ServiceCommand:
    # systemctl finds the user's manager by this directory; a login by sudo does not set it.
    script = f'XDG_RUNTIME_DIR="/run/user/$(id -u)" systemctl --user {shlex.join(words)}'
    return ServiceCommand(("sh", "-c", script))


def pid_query(service: Service) -> ServiceCommand | None:
    """The command that prints the main process's number, for managers that only tell root."""
    if isinstance(service, Supervisor) and not service.program.endswith("*") and not service.pidfile:
        return ServiceCommand(("supervisorctl", "pid", service.program), "root" if service.sudo else "")
    return None


def description(service: Service, base: str) -> dict[str, Any]:
    """A part's service as the host program is told of it."""
    told: dict[str, Any] = {"manager": service.manager}
    if isinstance(service, Systemd):
        told.update(unit=service.unit, user=service.user)
    if service.pidfile:
        told["pidfile"] = below(base, service.pidfile)
    return told


def descriptions(service: Service | None, base: str) -> list[dict[str, Any]]:
    """The same for each kind of part: of a template's instances, for the first."""
    if service is None:
        return []
    first = service.instance_names[:1] if isinstance(service, Systemd) else []
    kinds = [part for part in parts(service) if not part.instance or part.instance in first]
    return [description(part.service, base) for part in kinds]


def below(base: str, path: str) -> str:
    """An absolute path as it is, a relative one below *base*."""
    return str(PurePosixPath(base) / path)
