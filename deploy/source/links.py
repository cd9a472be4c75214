"""Which symbolic links of a tree leave it. Looks at the entries alone, so it holds for a tree that is not here, too."""

from __future__ import annotations

from collections.abc import Iterable

from ..hostside.tree import Entry

HOPS = 40
"""Links that the kernel follows for one path; more are a loop, which leads nowhere."""


def leaving(entries: Iterable[Entry]) -> list[Entry]:
    """The links that point out of the tree, absolute ones included: on a host the tree lies elsewhere.

    What a link passes through is followed where it travels, too; a link to what is shared, or is lacking, stays.
    """
    links = {item.path: item.value for item in entries if item.kind == "l"}
    return [Entry(path, "l", target) for path, target in sorted(links.items()) if _leaves(path, target, links)]


def _leaves(path: str, target: str, links: dict[str, str]) -> bool:
    if target.startswith("/"):
        return True
    place = path.split("/")[:-1]
    ahead = target.split("/")[::-1]
    for _ in range(HOPS):
        while ahead:
            part = ahead.pop()
            if part == ".." and not place:
                return True
            if part == "..":
                place.pop()
            elif part not in ("", "."):
                place.append(part)
                if further := links.get("/".join(place)):
                    break
        else:
            return False
        if further.startswith("/"):
            return True
        place.pop()
        ahead += further.split("/")[::-1]
    return False
