"""What every kind of balancer can be asked and told, whatever it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

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


class Kind(Protocol):
    """A kind of balancer, with its settings.

    :ivar called: what hosts are taken out of, in words.
    :ivar orders: the user's own commands that take a host out and put it back; '' where there are none.
    :ivar least: as many servers must be up besides those that are taken out.
    """

    @property
    def called(self) -> str: ...

    @property
    def orders(self) -> tuple[str, str]: ...

    @property
    def least(self) -> int: ...

    def look(self, hosts: Sequence[Host]) -> dict[str, Servers]:
        """What each balancer has, by the balancer's name; read-only.

        :param hosts: those that it is about now; what is told of others may be what they were at before.

        :raises DeployError: one does not answer.
        """

    def find(self, host: Host, servers: Servers) -> list[str]:
        """Which of *servers* are on *host*; none where the balancer does not know it."""

    def drain(self, told: Told) -> list[tuple[str, str]]:
        """Let servers get nothing new, and wait until what they have at hand is done.

        :returns: of each that still has something after the configured time: the balancer, and what in words.
        :raises DeployError: a balancer does not do it.
        """

    def undrain(self, told: Told, *, patient: bool) -> list[tuple[str, str]]:
        """Let servers get new sessions again, and wait until the balancers find them well.

        :param patient: wait for the configured time; else not at all.
        :returns: of each that is not found well by then: the balancer, and what it says of it.
        :raises DeployError: a balancer does not do it.
        """

    def swap(self, back: Told, out: Told) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """:meth:`undrain` some and :meth:`drain` others, in one moment if it can be, once the former are well.

        :returns: what these two return; a balancer that does not find one well has taken nobody out.
        :raises DeployError: a balancer does not do it.
        """


def one_after_another(kind: Kind, back: Told, out: Told) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """:meth:`Kind.swap` of a kind that has nothing quicker."""
    bad = kind.undrain(back, patient=True)
    return bad, [] if bad else kind.drain(out)
