"""`fab shared.*`: one file of `shared/` on all hosts of the stage. No content and no hash is ever shown."""

from __future__ import annotations

import base64
import contextlib
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from fabric import Config

from ..config import relative_to
from ..config.basics import relative
from ..errors import CheckFailed, ConfigurationError, DeployError, as_kind, by_host, combine
from ..fleet import parallel
from ..host.connection import Host
from ..hostside.sharedfiles import AT_MOST, MISSING, fingerprint
from .editing import edited
from .run import Options, Run, limited, opened


def put(config: Config, options: Options, file: str, name: str, mode: str) -> None:
    """Upload one file into `shared/` of every host.

    :param file: a file here, or ``-`` for standard input.
    :param name: its path below `shared/`, '' for that of *file*.
    :param mode: its mode on the host, octal.
    """
    bits = _mode(mode)
    with opened(config, options) as run:
        name = _name(run, file, name)
        content = _content(run, file)
        if name not in run.settings.shared.files:
            run.report.warn(f"deploy.shared.files does not name {name}, so no release is linked to it")
        if options.dry:
            for host in run.hosts:
                run.report.say(f"would put {_target(host, name)} there (mode {bits:04o})", host.name)
            return
        run.connect()
        _put(run, name, content, bits, {})


def diff(config: Config, options: Options, file: str, name: str) -> None:
    """Say where files of `shared/` are lacking or differ, from each other and from the copy here.

    :param file: a file here; '' for all of ``shared.files``.
    :raises CheckFailed: some do, or differ from *file*.
    """
    with opened(config, options) as run:
        names = [_name(run, file, name)] if file or name else list(run.settings.shared.files)
        if not names:
            run.report.say("deploy.shared.files names no file")
            return
        salt = secrets.token_hex(16)
        here = {}
        for each in names:
            path = relative_to(run.directory, file or each)
            if file or path.is_file():
                here[each] = fingerprint(salt, _read(path))
        run.connect()
        found = parallel.each(run.hosts, lambda host: _ask(host, names, salt))
        rows, differing = [], []
        for each in names:
            known: dict[str, str] = {}
            for host, files in found.items():
                mark = files[each]
                known.setdefault(mark, host.name)
                rows.append([host.name, each, _against(mark, known[mark], host.name, here.get(each))])
            if len(known) > 1 or MISSING in known or (file and set(known) != {here[each]}):
                differing.append(each)
        run.report.table(["host", "file", "state"], rows)
    if differing:
        raise CheckFailed(f"not the same everywhere: {', '.join(differing)}")


def edit(config: Config, options: Options, name: str, start: str) -> None:
    """Open an editor on a copy of a file of `shared/`, and bring what was changed to all hosts.

    :param start: the host whose file is taken where they differ.
    :raises CheckFailed: the hosts differ, or the file was changed on one while it was edited.
    """
    with opened(config, options) as run:
        name = _inside(name, "FILE")
        first = limited(run.host_settings, start, run.stage)[0] if start else None
        if first is not None and first not in run.hosts:
            raise ConfigurationError(f"{start} is not within --limit", where="--from")
        run.connect()
        salt = secrets.token_hex(16)
        before = {
            host: files[name] for host, files in parallel.each(run.hosts, lambda h: _ask(h, [name], salt)).items()
        }
        if len(set(before.values())) > 1 and first is None:
            told = by_host(
                (host.name, "missing" if mark == MISSING else f"like {_first_of(before, mark).name}")
                for host, mark in before.items()
            )
            raise CheckFailed(
                f"shared/{name} is not the same on all hosts:\n{told}", hint="say which to start from: --from HOST"
            )
        source = first or run.hosts[0]
        if options.dry:
            run.report.say(f"would open an editor on a copy of {_target(source, name)}", source.name)
            return
        taken = source.batch([("take_shared", {"name": name, "salt": salt})])[0]
        for host in run.hosts:
            host.close()  # nobody knows how long it takes
        content = base64.b64decode(taken["content"])
        with run.report.paused():
            changed = _short(edited(Path(name).name, content), name)
        if changed == content and set(before.values()) == {taken["fingerprint"]}:
            run.report.say("nothing was changed")
            return
        run.connect()
        now = parallel.each(run.hosts, lambda host: _ask(host, [name], salt)[name])
        meanwhile = [host.name for host in run.hosts if now[host] != before[host]]
        if meanwhile:
            raise CheckFailed(
                f"shared/{name} was changed by somebody else meanwhile on {', '.join(meanwhile)}; nothing was uploaded",
                hint="edit it again",
            )
        _put(run, name, changed, None, before, salt)


def _put(run: Run, name: str, content: bytes, mode: int | None, expect: dict[Host, str], salt: str = "") -> None:
    """Replace the file on all hosts, and say on which.

    :raises CheckFailed: not on all; it is said on which it was.
    """
    told = base64.b64encode(content).decode()

    def upload(host: Host) -> None:
        with run.report.step("put", host.name) as step:
            asked = {"name": name, "content": told, "salt": salt, "mode": mode, "expect": expect.get(host)}
            try:
                result = host.batch([("put_shared", asked)])[0]
            except DeployError as error:
                raise as_kind(CheckFailed, error) from None
            step.outcome = f"put {_target(host, name)}" if result["changed"] else f"{_target(host, name)} is the same"

    done, failures = parallel.attempt(run.hosts, upload)
    if failures:
        if done:
            run.report.warn(f"{name} is new on {', '.join(h.name for h in run.hosts if h in done)}, not on all hosts")
        raise combine(list(failures.values()))
    run.report.say(f"what runs may read it only when it starts again: {run.fab('reboot-server')}")


def _ask(host: Host, names: Sequence[str], salt: str) -> dict[str, str]:
    try:
        found: dict[str, str] = host.call("look_shared", names=list(names), salt=salt)["files"]
    except DeployError as error:
        raise as_kind(CheckFailed, error) from None
    return found


def _against(mark: str, first: str, host: str, here: str | None) -> str:
    if mark == MISSING:
        return "missing"
    parts = [] if here is None else ["same as here" if mark == here else "differs from here"]
    parts += [f"like {first}"] if first != host else []
    return ", ".join(parts) or "there"


def _first_of(prints: dict[Host, str], wanted: str) -> Host:
    return next(host for host, mark in prints.items() if mark == wanted)


def _target(host: Host, name: str) -> str:
    return f"{host.base_path}/shared/{name}"


def _name(run: Run, file: str, name: str) -> str:
    """Where *file* goes: as it is said, or its own path where ``shared.files`` has it, or its last part."""
    if name:
        return _inside(name, "--as")
    if file == "-":
        raise ConfigurationError("standard input has no name; say what it is to be called", where="--as")
    with contextlib.suppress(ValueError):
        if (own := relative(file)) in run.settings.shared.files:
            return own
    return _inside(Path(file).name, "FILE")


def _inside(name: str, where: str) -> str:
    try:
        return relative(name)
    except ValueError as error:
        raise ConfigurationError(f"{name!r} {error}", where=where) from None


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0o400 <= mode <= 0o777 or mode & 0o022:
        raise ConfigurationError(
            f"must be an octal mode such as 0600 or 0640, not writable for group and others; not {text!r}",
            where="--mode",
        )
    return mode


def _content(run: Run, file: str) -> bytes:
    if file != "-":
        return _read(relative_to(run.directory, file))
    content = sys.stdin.buffer.read(AT_MOST + 1)
    return _short(content, "standard input")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return _short(stream.read(AT_MOST + 1), str(path))
    except OSError as error:
        raise ConfigurationError(f"cannot be read ({error.strerror})", where=str(path)) from None


def _short(content: bytes, where: str) -> bytes:
    if len(content) > AT_MOST:
        raise ConfigurationError(f"has more than {AT_MOST >> 20} MiB; copy it by hand", where=where)
    return content
