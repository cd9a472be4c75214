"""An editor on a copy of something secret: nothing of it stays here, however the editing ends."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import ConfigurationError, Interrupted
from ..host.limits import GRACE_S


def edited(name: str, content: bytes) -> bytes:
    """What a person makes of *content*, in a file called *name*; the copy is gone afterwards, whatever happens.

    :raises ConfigurationError: there is no editor, it failed, or it left no file.
    :raises Interrupted: it was ended by Ctrl-C; an editor that takes that for something else goes on.
    """
    editor = os.environ.get("VISUAL", "").strip() or os.environ.get("EDITOR", "").strip() or shutil.which("vi")
    if not editor:
        raise ConfigurationError("no editor is known", where="EDITOR", hint="set VISUAL or EDITOR")
    with _private_copy(name, content) as path:
        status = _edit(editor, path)
        if status in (-signal.SIGINT, 128 + signal.SIGINT):
            raise Interrupted("interrupted; nothing was uploaded")
        if status:
            raise ConfigurationError(f"the editor {_ended(status)}; nothing was uploaded", where=editor)
        try:
            return path.read_bytes()
        except OSError as error:
            raise ConfigurationError(
                f"the editor left no file ({error.strerror}); nothing was uploaded", where=editor
            ) from None


def _ended(status: int) -> str:
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-status).name}"
    return f"failed (exit {status})"


def _edit(editor: str, path: Path) -> int:
    """The editor's exit status."""
    with _ignored(signal.SIGINT):  # it is the editor's own
        try:
            child = subprocess.Popen(
                [*_words(editor), str(path)], preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
            )
        except OSError as error:
            raise ConfigurationError(f"the editor cannot be started ({error.strerror})", where=editor) from None
        try:
            return child.wait()
        except BaseException:
            _end(child)
            raise


def _words(editor: str) -> list[str]:
    """What starts it: ``vim -n`` by itself, so that a signal is its own; what only a shell understands by a shell.

    :raises ConfigurationError: its quotes do not end.
    """
    try:
        words = shlex.split(editor)
    except ValueError as error:
        raise ConfigurationError(f"{editor!r}: {error}", where="EDITOR") from None
    if not set(editor) & set("|&;<>()$`*?[#~\n") and "=" not in words[0]:
        return words
    return ["/bin/sh", "-c", f'trap : INT; {editor} "$@"', editor]


@contextlib.contextmanager
def _ignored(*numbers: signal.Signals) -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(child: subprocess.Popen[bytes]) -> None:
    """It may put the terminal in order; it has our terminal, so it is not in a group of its own."""
    child.terminate()
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


@contextlib.contextmanager
def _private_copy(name: str, content: bytes) -> Iterator[Path]:
    """A file in a directory of its own, in memory where there is such a place; both are destroyed at the end.

    What an editor makes beside it is destroyed as well, and the file that it replaced.
    """
    places = [os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm"]
    place = next((each for each in places if each and os.access(each, os.W_OK | os.X_OK)), None)
    directory = Path(tempfile.mkdtemp(prefix="fabric-wheelhouse-", dir=place))
    path, descriptor = directory / name, -1
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        path.write_bytes(content)
        yield path
    finally:
        with _ignored(signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if descriptor >= 0:
                _overwrite(descriptor)
                os.close(descriptor)
            _destroy(directory)


def _destroy(directory: Path) -> None:
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                descriptor = os.open(Path(folder) / name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                with os.fdopen(descriptor, "wb", buffering=0):
                    _overwrite(descriptor)
    try:
        shutil.rmtree(directory)
    except OSError as error:
        raise ConfigurationError(
            f"what the editor left could not be removed ({error.strerror})", where=error.filename or str(directory)
        ) from None


def _overwrite(descriptor: int) -> None:
    """Zeros over all of a file, and on to the disk, if it is on one."""
    with contextlib.suppress(OSError):
        size = os.fstat(descriptor).st_size
        os.lseek(descriptor, 0, os.SEEK_SET)
        while size > 0:
            size -= os.write(descriptor, bytes(min(size, 1 << 20)))
        os.fsync(descriptor)
