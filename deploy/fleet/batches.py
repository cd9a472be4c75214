"""Which hosts are switched together, and in which order: names in, lists of names out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..config import Rolling

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """Hosts that are switched together.

    :ivar number: from 1.
    :ivar canary: they are tried before the others.
    """

    number: int
    hosts: tuple[T, ...]
    canary: bool = False


def ordered(hosts: Sequence[T], order: str, primary: T) -> list[T]:
    """*hosts* as they come one after another; the primary one need not be among them."""
    if order == "reversed":
        return list(reversed(hosts))
    if order == "primary-first":
        return sorted(hosts, key=lambda host: host != primary)
    if order == "primary-last":
        return sorted(hosts, key=lambda host: host == primary)
    return list(hosts)


def size(batch: int | str, changing: int, total: int) -> int:
    """How many hosts a batch has at most.

    :param changing: how many are to be switched.
    :param total: how many the run is about; a part is a part of these, so that what stays in service does not depend on
        how many are up to date already.
    """
    if batch == "all":
        return max(1, changing)
    if batch == "half":
        return max(1, (changing + 1) // 2)
    if isinstance(batch, str):
        return max(1, total * int(batch.rstrip("%")) // 100)
    return batch


def divide(hosts: Sequence[T], rolling: Rolling, *, primary: T, canaries: Collection[T], total: int) -> list[Batch[T]]:
    """The batches of *hosts*, in order.

    :param hosts: those to be switched, as the stage lists them.
    :param canaries: the hosts that the configuration names as such.
    :param total: how many hosts the run is about.
    """
    waiting = ordered(hosts, rolling.order, primary)
    parts: list[tuple[T, ...]] = []
    first: list[T] = []
    if rolling.canary:
        first = [host for host in waiting if host in canaries] if canaries else waiting[: rolling.canary.count]
    if len(first) == len(waiting):
        first = []  # there is nobody to be kept from harm
    if first:
        parts.append(tuple(first))
        waiting = [host for host in waiting if host not in first]
    step = size(rolling.batch, len(waiting), total)
    parts += [tuple(waiting[start : start + step]) for start in range(0, len(waiting), step)]
    return [Batch(number, part, bool(first) and number == 1) for number, part in enumerate(parts, 1)]
