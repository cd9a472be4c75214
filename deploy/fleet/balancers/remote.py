"""Balancers that are told where they run, or from the primary host: by the host program, one operation at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from ...config import Haproxy, Nginx
from ...errors import CheckFailed, as_kind
from ...host.connection import Host
from ...host.session import HostFailure
from .. import parallel
from .kinds import Kind, Server, Servers, Stage, Told


class Remote(Kind):
    """A kind of balancers that the host program speaks with; with nobody in balance they show a page of their own.

    :param tellers: who speaks with one each: the balancers' own hosts, or another one.
    :param place: what the host program has to know of them, at each operation.
    """

    looking: str
    """The operation that says what a balancer has."""

    def __init__(
        self,
        stage: Stage,
        settings: Haproxy | Nginx,
        tellers: Sequence[Host],
        called: str,
        place: Mapping[str, Any],
    ) -> None:
        super().__init__(stage, called, settings.min_available)
        self._tellers = tellers
        self._user = settings.user
        self._place = place

    def look(self, hosts: Sequence[Host] = ()) -> dict[str, Servers]:
        answers = parallel.each(self._tellers, lambda teller: self._ask(teller, self.looking))
        return {
            teller.name: {name: Server.of(told) for name, told in answer.items()} for teller, answer in answers.items()
        }

    @abstractmethod
    def close(self, told: Told) -> None:
        """Let servers get nothing at all; with none left, the balancer answers by itself.

        :raises DeployError: a balancer does not do it.
        """

    @abstractmethod
    def open(self, former: Mapping[str, Mapping[str, str]]) -> None:
        """Give back to each server what it was at: `drain`, or '' for in balance.

        :raises DeployError: a balancer does not do it.
        """

    def _tell(
        self, operation: str, told: Mapping[str, Any], back: Mapping[str, Any] | None = None, **asked: Any
    ) -> dict[str, Any]:
        """What each balancer answers, by its name, that is told of servers, or of those that come *back* meanwhile.

        :raises ConnectionFailed: one cannot be reached.
        :raises CheckFailed: a balancer does not answer, or not as it should.
        """
        places = [told] if back is None else [told, back]
        tellers = [teller for teller in self._tellers if any(place.get(teller.name) for place in places)]

        def ask(teller: Host) -> Any:
            both = {} if back is None else {"back": back.get(teller.name, [])}
            return self._ask(teller, operation, **asked, **both, servers=told.get(teller.name, []))

        return {teller.name: answer for teller, answer in parallel.each(tellers, ask).items()}

    def _ask(self, teller: Host, operation: str, **asked: Any) -> Any:
        try:
            with teller.lost_means_failed():
                return teller.session(self._user).batch([(operation, {**self._place, **asked})])[0]
        except HostFailure as failure:
            raise as_kind(CheckFailed, failure) from None
