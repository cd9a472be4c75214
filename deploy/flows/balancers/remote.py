"""Balancers that are told where they run, or from the primary host: by the host program, one operation at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import CheckFailed, as_kind
from ...fleet import parallel
from ...host.connection import Host
from ...host.session import HostFailure
from ..run import Run


class Tellers:
    """Those who speak with the balancers of a run.

    :param addresses: where the balancers are logged in to; none where the primary host speaks with one.
    :param user: who speaks with them there; '' for the login user, or the deploy user of the primary host.
    :param python: the interpreter there.
    """

    def __init__(self, run: Run, addresses: list[str], user: str, python: str) -> None:
        self._run = run
        self._addresses = addresses
        self._user = user
        self._python = python

    def ask_all(self, operation: str, **asked: Any) -> dict[str, Any]:
        """What all of them say, by their names.

        :raises ConnectionFailed: one cannot be reached.
        :raises CheckFailed: a balancer does not answer, or not as it should.
        """
        answers = parallel.each(self._all(), lambda teller: self._ask(teller, operation, asked))
        return {teller.name: answer for teller, answer in answers.items()}

    def tell(
        self, operation: str, told: Mapping[str, Any], back: Mapping[str, Any] | None = None, **asked: Any
    ) -> dict[str, Any]:
        """As :meth:`ask_all`, of each for the servers that it is told of, and for those that come *back* meanwhile.

        Who is told of none is not asked.
        """
        places = [told] if back is None else [told, back]
        tellers = [teller for teller in self._all() if any(place.get(teller.name) for place in places)]

        def ask(teller: Host) -> Any:
            both = {} if back is None else {"back": back.get(teller.name, [])}
            return self._ask(teller, operation, {**asked, **both, "servers": told.get(teller.name, [])})

        return {teller.name: answer for teller, answer in parallel.each(tellers, ask).items()}

    def _ask(self, teller: Host, operation: str, asked: dict[str, Any]) -> Any:
        try:
            with teller.lost_means_failed():
                return teller.session(self._user).batch([(operation, asked)])[0]
        except HostFailure as failure:
            raise as_kind(CheckFailed, failure) from None

    def _all(self) -> list[Host]:
        run = self._run
        for address in self._addresses:
            if address not in run.balancers:
                run.balancers[address] = run.primary.beside(address, self._python)
                run.closing.callback(run.balancers[address].close)
        return [run.balancers[address] for address in self._addresses] or [run.primary]
