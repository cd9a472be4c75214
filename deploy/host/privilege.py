"""Become another user on a host: command lines for sudo, and the password handed over by its prompt only."""

from __future__ import annotations

from ..errors import ConnectionFailed

PROMPT = "[deploy] sudo password: "
READY = "deploy-ready\n"

_ANNOUNCE = 'printf \'deploy-ready\\n\'; exec "$0" "$@"'


def as_user(command: list[str], user: str, *, password: bool) -> list[str]:
    """*command* as *user*; without a password sudo is told never to ask (``-n``).

    With one, the command says :data:`READY` before it begins, so that it is known when sudo has let go of its input.
    """
    if password:
        return ["sudo", "-S", "-p", PROMPT, "-H", "-u", user, "--", "sh", "-c", _ANNOUNCE, *command]
    return ["sudo", "-n", "-H", "-u", user, "--", *command]


def refused(host: str, user: str, message: str) -> ConnectionFailed:
    """What sudo's refusal means.

    :param message: sudo's own words.
    """
    lowered = message.lower()
    if "unknown user" in lowered:
        return ConnectionFailed(
            f"there is no user {user}",
            where=host,
            hint=f"create it: sudo adduser --system --group --shell /bin/sh {user}",
        )
    if "password is required" in lowered or "a terminal is required" in lowered:
        hint = "run with --prompt-for-sudo-password, or allow it without one in /etc/sudoers.d"
        return ConnectionFailed(f"sudo wants a password to become {user}", where=host, hint=hint)
    if "sorry, try again" in lowered or "incorrect password" in lowered:
        return ConnectionFailed("sudo did not take the password", where=host, hint="give the login user's own password")
    if "not allowed" in lowered or "not in the sudoers" in lowered or "may not run" in lowered:
        return ConnectionFailed(
            f"the login user may not become {user} by sudo",
            where=host,
            hint=f"allow it in /etc/sudoers.d, or log in as {user}",
        )
    if "command not found" in lowered or "sudo: not found" in lowered:
        return ConnectionFailed(
            f"sudo is not installed, so the login user cannot become {user}",
            where=host,
            hint=f"install sudo, or log in as {user}",
        )
    return ConnectionFailed(f"cannot become {user} by sudo", where=host, output=message)
