"""What every kind of balancer can be asked and told, whatever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ...config import HostSettings
from ...errors import DeployError
from ...host.connection import Host


@dataclass(frozen=True, slots=True)
class Server:
    """A host as a balancer sees it.

    :ivar up: whether it gets new sessions.
    :ivar out: how it was taken out, by whomever; '' where it was not.
    :ivar status: what the balancer calls what it is at.
    """

    up: bool
    out: Literal["", "drain", "maint"]
    status: str

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Server:
        """As the host program tells it."""
        return cls(bool(told["up"]), told["out"], str(told["status"]))


Servers = Mapping[str, Server]
"""All that a balancer has to choose from, by its own names for them."""

Told = Mapping[str, list[str]]
"""Whom a balancer is told of: its name, and its names for them."""

Remark = tuple[str, str]
"""A balancer, and in words what is the matter with one of its servers."""


class Stage(Protocol):
    """The hosts of a stage, as they are at each moment: a run may leave some out while it goes on.

    :ivar hosts: those that are worked on.
    :ivar host_settings: those of all hosts.
    :ivar unreachable: the hosts that are left out because they are not reached.
    :ivar facts: what each host that is worked on said of itself.
    """

    @property
    def hosts(self) -> Sequence[Host]: ...

    @property
    def host_settings(self) -> Mapping[Host, HostSettings]: ...

    @property
    def unreachable(self) -> Mapping[Host, DeployError]: ...

    @property
    def facts(self) -> Mapping[Host, Mapping[str, Any]]: ...


class Kind(ABC):
    """A kind of balancer, with its settings.

    :ivar called: what hosts are taken out of, in words.
    :ivar orders: the user's own commands that take a host out and put it back; '' where there are none.
    :ivar least: as many servers must be up besides those that are taken out.
    """

    orders: tuple[str, str] = ("", "")

    def __init__(self, stage: Stage, called: str, least: int) -> None:
        self._stage = stage
        self.called = called
        self.least = least

    @abstractmethod
    def look(self, hosts: Sequence[Host] = ()) -> dict[str, Servers]:
        """What each balancer has, by the balancer's name; read-only.

        :param hosts: those that it is about now; what is told of others may be what they were at before.
        :raises DeployError: one does not answer.
        """

    @abstractmethod
    def find(self, host: Host, servers: Servers) -> list[str]:
        """Which of *servers* are on *host*; none where the balancer does not know it."""

    @abstractmethod
    def drain(self, told: Told) -> list[Remark]:
        """Let servers get nothing new, and wait until what they have at hand is done.

        :returns: of each that still has something after the configured time.
        :raises DeployError: a balancer does not do it.
        """

    @abstractmethod
    def undrain(self, told: Told, *, patient: bool) -> list[Remark]:
        """Let servers get new sessions again, and wait until the balancers find them well.

        :param patient: wait for the configured time; else not at all.
        :returns: of each that is not found well by then.
        :raises DeployError: a balancer does not do it.
        """

    def swap(self, back: Told, out: Told) -> tuple[list[Remark], list[Remark]]:
        """:meth:`undrain` some and :meth:`drain` others once the former are well: in one moment, where it can be.

        :returns: what these two return; a balancer that does not find one well has taken nobody out.
        :raises DeployError: a balancer does not do it.
        """
        bad = self.undrain(back, patient=True)
        return bad, [] if bad else self.drain(out)
