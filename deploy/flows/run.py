"""One run of a task: the stage, its hosts, the report; opened, locked and closed in one place."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from fabric import Config

from .. import masking
from ..config import HostSettings, Settings, relative_to
from ..errors import ConfigurationError, DeployError, Interrupted
from ..fleet import parallel
from ..fleet.lock import DeployLock
from ..host import hostkeys
from ..host.connection import Host
from ..host.login import Access
from ..host.places import Places
from ..report import logs
from ..report.console import Report, make
from ..service import manager, unitfiles
from . import reaching
from .projects import Project

_PASSWORDS = ("password", "passphrase")
"""What Fabric keeps in ``connect_kwargs`` that nobody is to see."""

NOTED = ".deploy/maintenance.json"
"""On the primary host, while balancers show a page: what their servers were at before."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says.

    :ivar limit: hosts to narrow the stage to, '' for all.
    :ivar lock_wait_s: how long to wait for another deploy.
    :ivar dry: show and touch nothing.
    :ivar revision: the tag, branch or commit to deploy, '' for what is checked out.
    :ivar source: a directory to push as it lies there, '' for what the configuration names.
    :ivar skip_unreachable: leave out hosts that are not reached; None where the task needs them all.
    """

    limit: str = ""
    lock_wait_s: float = 0
    dry: bool = False
    revision: str = ""
    source: str = ""
    skip_unreachable: bool | None = None


@dataclass(slots=True)
class Run:
    """What every flow works with.

    :ivar hosts: in the stage's order, narrowed by ``--limit``, without those that are left out.
    :ivar unreachable: the hosts that are left out because they are not reached, and what they said.
    :ivar facts: what the last probe found on each host.
    :ivar found: what a host said of itself while it was asked for something else; the next probe takes it.
    :ivar revision: of the code that is pushed, once it is known.
    :ivar begun: the release that the run is about, on each host, once it is known.
    :ivar primary: where migrations run and the deploy lock lies; not narrowed.
    :ivar committed: the fabfile's directory as it is in the commit that is deployed, where one is.
    :ivar balancers: the balancers' hosts by their addresses, once they are spoken with.
    :ivar former_units: the texts of the unit files that the run replaced.
    :ivar closing: what is put away when the run ends.
    """

    settings: Settings
    stage: str
    directory: Path
    hosts: list[Host]
    primary: Host
    host_settings: dict[Host, HostSettings]
    options: Options
    report: Report
    lock: DeployLock | None = None
    facts: dict[Host, dict[str, Any]] = field(default_factory=dict)
    found: dict[Host, dict[str, Any]] = field(default_factory=dict)
    committed: Path | None = None
    closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    former_units: dict[Host, dict[str, str]] = field(default_factory=dict)
    revision: str = ""
    begun: dict[Host, str] = field(default_factory=dict)
    unreachable: dict[Host, DeployError] = field(default_factory=dict)
    balancers: dict[str, Host] = field(default_factory=dict)

    @property
    def everyone(self) -> list[Host]:
        """The hosts to be reached: those of the run, and the primary for its lock."""
        return self.hosts if self.primary in self.hosts else [self.primary, *self.hosts]

    def own(self, name: str) -> Path:
        """A file of the application, such as its lock file: the commit's, where one is deployed and has it."""
        if self.committed is not None and not Path(name).is_absolute():
            path = self.committed / name
            if path.exists():
                return path
        return relative_to(self.directory, name)

    def service(self, host: Host) -> Any:
        return self.host_settings[host].service or self.settings.service

    def health(self, host: Host) -> Any:
        return self.host_settings[host].health or self.settings.health

    def unit_files(self, host: Host) -> dict[str, Any] | None:
        """What the host program has to know of the unit files that a release brings; None where it brings none."""
        service = self.service(host)
        if not unitfiles.names(service):
            return None
        known = {
            "app": self.settings.app,
            "stage": self.stage,
            "host": host.name,
            "base_path": host.base_path,
            "current": f"{host.base_path}/current",
            "shared": f"{host.base_path}/shared",
            "deploy_user": host.deploy_user,
        }
        return {"files": service.unit_files, "values": {**service.unit_values, **known}, "of_user": service.user}

    @property
    def watched(self) -> str:
        """The file on hosts whose being there means that maintenance is on; '' where none is configured."""
        settings = self.settings.maintenance
        return "" if settings is None else settings.file if settings.by == "hosts" else NOTED

    def questions(self, host: Host, also: Sequence[str] = ()) -> list[tuple[str, dict[str, Any]]]:
        """The request that probes a host; :meth:`heard` takes the answers.

        :param also: what takes longer to tell: see :mod:`deploy.hostside.probe`.
        """
        told = manager.descriptions(self.service(host), host.base_path)
        asked: list[tuple[str, dict[str, Any]]] = [
            (
                "probe",
                {
                    "shared_files": self.settings.shared.files,
                    "shared_dirs": self.settings.shared.dirs,
                    "services": told,
                    "units": self.unit_files(host),
                    "also": list(also),
                    "maintenance_file": self.watched,
                },
            )
        ]
        wanted = self.settings.system_packages.model_dump()
        if any(wanted.values()):
            asked.append(("packages", {"wanted": wanted}))
        return asked

    @staticmethod
    def heard(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """What a host says of itself, with ``packages`` where the configuration names some."""
        return {**answers[0], **({"packages": answers[1]} if len(answers) > 1 else {})}

    def fab(self, task: str) -> str:
        """The command line of another task for the same stage."""
        limit = f" --limit {self.options.limit}" if self.options.limit else ""
        return f"fab {self.stage} {task}{limit}"

    def assert_locked(self) -> None:
        """Look, before something is migrated or switched, whether the deploy lock is still ours.

        :raises Locked: it is not.
        """
        if self.lock is not None:
            self.lock.assert_held()

    def connect(self) -> None:
        """Log in everywhere, in parallel.

        :raises ConnectionFailed: naming every host that cannot be reached, where none of them may be left out.
        """
        _, failures = parallel.attempt(self.everyone, Host.open)
        reaching.leave_out(self, failures)

    @contextlib.contextmanager
    def locked(self, message: str) -> Iterator[None]:
        """Hold the deploy lock of the stage; a dry run only looks, so it takes none."""
        from .preparing import prepare

        if self.options.dry:
            yield
            return
        lock = DeployLock(
            self.primary,
            message=message,
            expiry_s=self.settings.lock.expiry,
            wait_s=self.options.lock_wait_s,
            prepare=lambda: prepare(self, [self.primary]),
            say=self.report.say,
            then=self.questions(self.primary),
        )
        # The lock is extended over its connection, and looked after between the batches.
        self.primary.stays = True
        try:
            with lock:
                self.lock = lock
                self.found[self.primary] = self.heard(lock.found)
                yield
                self.lock = None
        finally:
            self.primary.stays = False


@contextlib.contextmanager
def opened(config: Config, options: Options) -> Iterator[Run]:
    """A run for the stage that the configuration chooses; connections are closed when it ends.

    :raises ConfigurationError: the configuration is wrong, or ``--limit`` names a host that is not in the stage.
    """
    logs.guard()
    masking.hide(str(each) for each in (config.sudo.password, *map(config.connect_kwargs.get, _PASSWORDS)) if each)
    project = Project.of(config)
    stage, settings = project.stage()
    directory = project.directory
    report = make()
    access = _access(settings, directory)
    places = Places(access.parallel)
    host_settings: dict[Host, HostSettings] = {}
    for each in settings.hosts:
        host = Host(
            each.host,
            name=each.name,
            base_path=each.base_path or settings.base_path,
            deploy_user=each.deploy_user or settings.deploy_user,
            python=each.python or settings.python,
            config=config,
            access=access,
            places=places,
        )
        host_settings[host] = each
    primary = next((host for host, each in host_settings.items() if each.primary), next(iter(host_settings)))
    hosts = limited(host_settings, options.limit, stage)
    try:
        with terminable(), report:
            report.gather([host.name for host in hosts])
            run = Run(settings, stage, directory, hosts, primary, host_settings, options, report)
            with run.closing:
                yield run
            reaching.tell(run)
    finally:
        parallel.attempt(list(host_settings), Host.close)


def _access(settings: Settings, directory: Path) -> Access:
    known: tuple[Path, ...] = hostkeys.DEFAULT_FILES
    if settings.known_hosts:
        known = (_file(directory, settings.known_hosts, "known_hosts"), *known)
    identity = str(_file(directory, settings.identity, "identity")) if settings.identity else ""
    return Access(
        settings.connect_timeout,
        settings.silence_timeout,
        known,
        identity,
        connect_attempts=settings.connect_attempts,
        parallel=settings.parallel,
    )


def _file(directory: Path, name: str, key: str) -> Path:
    path = relative_to(directory, name)
    if not path.is_file():
        raise ConfigurationError(f"there is no file {path}", where=f"deploy.{key}")
    return path


def limited(hosts: Mapping[Host, HostSettings], limit: str, stage: str) -> list[Host]:
    """The hosts that ``--limit`` names, in the stage's order.

    :raises ConfigurationError: one is not in the stage.
    """
    wanted = [name.strip() for name in limit.split(",") if name.strip()]
    if not wanted:
        return list(hosts)
    unknown = [name for name in wanted if not any(each.called(name) for each in hosts.values())]
    if unknown:
        known = ", ".join(settings.name for settings in hosts.values())
        raise ConfigurationError(
            f"{', '.join(unknown)} is not in stage {stage}; its hosts are: {known}", where="--limit"
        )
    return [host for host, each in hosts.items() if any(map(each.called, wanted))]


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP end a run as Ctrl-C does: what is held is let go of."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(f"interrupted by {signal.Signals(number).name}")

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
