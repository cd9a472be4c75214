"""Every ``fab`` task: read the arguments, call one flow. No logic.

Flows are imported inside the tasks, so that ``fab --list`` pays for none of them. Their options have no short forms:
``-f`` and ``-l`` are Fabric's own, and ``fab deploy -f other.yaml`` must not mean ``--force``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from invoke.collection import Collection
from invoke.exceptions import Exit
from invoke.tasks import task

from .errors import ConfigurationError, DeployError
from .executor import FleetTask
from .stages import stage_names

if TYPE_CHECKING:
    from fabric import Config

    from .flows.run import Options

_LIMIT = {"limit": "Only these hosts of the stage, separated by commas."}
_FROM = {"from_": "A directory to push instead of deploy.source.path, as it lies there; nothing is built."}
_REVISION = {
    "revision": "The tag, branch or commit to deploy; default: what is checked out. With strategy git, hg or svn."
}
_SKIP = {"skip_unreachable": "Leave out hosts that are not reached, at most deploy.max_unreachable; not the primary."}
_LOCKING = {**_LIMIT, "lock_wait": "Seconds to wait while somebody else deploys."}


def _options(
    c: Any,
    limit: str | None = None,
    lock_wait: str = "0",
    revision: str | None = None,
    source: str | None = None,
    skip: bool | None = None,
) -> Options:
    from .flows.run import Options

    if limit is not None and not limit.replace(",", "").strip():
        # An empty variable of a script must not widen what it was to narrow.
        raise ConfigurationError("it names no host; without it, all hosts of the stage are meant", where="--limit")
    if source is not None and not source.strip():
        raise ConfigurationError("it names no directory; without it, deploy.source.path is meant", where="--from")
    if revision is not None and not revision.strip():
        raise ConfigurationError("it names no commit; without it, what is checked out is meant", where="--revision")
    dry = bool(c.config.run.dry)
    return Options(
        limit=limit or "",
        lock_wait_s=_seconds(lock_wait),
        dry=dry,
        revision=revision or "",
        source=source or "",
        skip_unreachable=skip,
    )


def _seconds(text: str) -> int:
    # Text, because Fabric ends in a traceback when it cannot make a number of an option.
    if not text.isascii() or not text.isdigit():
        raise ConfigurationError(f"must be a whole number of seconds, not {text!r}", where="--lock-wait")
    return int(text)


def _config(c: Any) -> Config:
    return c.config


@task(
    klass=FleetTask,
    auto_shortflags=False,
    help={
        **_LOCKING,
        **_SKIP,
        **_REVISION,
        **_FROM,
        "force": "Re-activate the live release where nothing changed.",
        "retry": "Take up a deploy that failed or was cut off: what is staged is not sent again.",
    },
)
def deploy(  # type: ignore[no-untyped-def]
    c, limit=None, lock_wait="0", revision=None, from_=None, force=False, retry=False, skip_unreachable=False
):
    """Bring code and dependencies to every host, switch, restart, and go back if it is not well."""
    from .flows.deploy import deploy as flow

    if force and retry:
        raise ConfigurationError("either everything anew, or what was left over; not both", where="--force --retry")
    flow(_config(c), _options(c, limit, lock_wait, revision, from_, skip=skip_unreachable), force=force, retry=retry)


@task(
    klass=FleetTask,
    auto_shortflags=False,
    help={**_LOCKING, **_SKIP, "force": "Although the database's schema is newer; it stays as it is."},
)
def rollback(c, limit=None, lock_wait="0", force=False, skip_unreachable=False):  # type: ignore[no-untyped-def]
    """Go back to the last good release before the live one; no build, no upload."""
    from .flows.rollback import rollback as flow

    flow(_config(c), _options(c, limit, lock_wait, skip=skip_unreachable), force=force)


@task(klass=FleetTask, auto_shortflags=False, help={**_LIMIT, **_SKIP})
def check(c, limit=None, skip_unreachable=False):  # type: ignore[no-untyped-def]
    """Probe every host and say all that would stop a deploy."""
    from .flows.looking import check as flow

    flow(_config(c), _options(c, limit, skip=skip_unreachable))


@task(klass=FleetTask, auto_shortflags=False, help={**_LIMIT, **_SKIP})
def status(c, limit=None, skip_unreachable=False):  # type: ignore[no-untyped-def]
    """Show what serves where: release, revision, since when, by whom."""
    from .flows.looking import status as flow

    flow(_config(c), _options(c, limit, skip=skip_unreachable))


@task(
    klass=FleetTask,
    auto_shortflags=False,
    help={**_LIMIT, "packages": "Install what deploy.system_packages names and a host lacks, too."},
)
def setup(c, limit=None, packages=False):  # type: ignore[no-untyped-def]
    """Make the directories on every host, with the right owner."""
    from .flows.steps import setup as flow

    flow(_config(c), _options(c, limit), packages=packages)


@task(
    klass=FleetTask,
    auto_shortflags=False,
    iterable=["upgrade_package"],
    help={
        **_LIMIT,
        "upgrade": "Newer versions of everything; without it, what is locked stays as long as it fits.",
        "upgrade_package": "A newer version of this package alone; may be given several times.",
    },
)
def lock_requirements(c, limit=None, upgrade=False, upgrade_package=None):  # type: ignore[no-untyped-def]
    """Write the lock file from `requirements.in` or `pyproject.toml`, for the stage's targets."""
    from .flows.relocking import lock_requirements as flow

    flow(_config(c), _options(c, limit), upgrade=upgrade, packages=upgrade_package or [])


@task(klass=FleetTask, auto_shortflags=False, help=_LIMIT)
def targets(c, limit=None):  # type: ignore[no-untyped-def]
    """Show what the hosts' wheels must fit, and write it to `targets/` for places where no host is in reach."""
    from .flows.targets import targets as flow

    flow(_config(c), _options(c, limit))


@task(
    klass=FleetTask,
    auto_shortflags=False,
    help={
        **_LIMIT,
        **_REVISION,
        "target": "For these files of `targets/`, separated by commas, instead of asking the hosts.",
    },
)
def create_bundle(c, limit=None, target=None, revision=None):  # type: ignore[no-untyped-def]
    """Turn the lock file into wheels and a manifest, locally, once for all hosts."""
    from .flows.steps import create_bundle as flow

    flow(_config(c), _options(c, limit, revision=revision), target)


@task(klass=FleetTask, auto_shortflags=False, help={"force": "Those commands too whose inputs did not change."})
def build(c, force=False):  # type: ignore[no-untyped-def]
    """Run the commands of `deploy.build` here, and touch no host."""
    from .flows.making import build as flow

    flow(_config(c), _options(c), force=force)


@task(klass=FleetTask, auto_shortflags=False, help={**_LOCKING, **_SKIP, **_REVISION, **_FROM})
def push(c, limit=None, lock_wait="0", revision=None, from_=None, skip_unreachable=False):  # type: ignore[no-untyped-def]
    """Push the code into a new release that does not serve yet."""
    from .flows.steps import push as flow

    flow(_config(c), _options(c, limit, lock_wait, revision, from_, skip=skip_unreachable))


@task(klass=FleetTask, auto_shortflags=False, help={**_LOCKING, **_SKIP})
def update_deps(c, limit=None, lock_wait="0", skip_unreachable=False):  # type: ignore[no-untyped-def]
    """Upload missing wheels and make the pushed release's venv, offline."""
    from .flows.steps import update_deps as flow

    flow(_config(c), _options(c, limit, lock_wait, skip=skip_unreachable))


@task(klass=FleetTask, auto_shortflags=False, help={"lock_wait": _LOCKING["lock_wait"]})
def migrate_db(c, lock_wait="0"):  # type: ignore[no-untyped-def]
    """Migrate the database: once, on the primary host, in the staged release."""
    from .flows.steps import migrate_db as flow

    flow(_config(c), _options(c, lock_wait=lock_wait))


@task(klass=FleetTask, auto_shortflags=False, help={**_LOCKING, **_SKIP})
def activate(c, limit=None, lock_wait="0", skip_unreachable=False):  # type: ignore[no-untyped-def]
    """Switch `current` to the staged release."""
    from .flows.steps import activate as flow

    flow(_config(c), _options(c, limit, lock_wait, skip=skip_unreachable))


@task(
    klass=FleetTask,
    auto_shortflags=False,
    aliases=("restart",),
    help={**_LOCKING, **_SKIP, "rolling": "Batch by batch; without it, all hosts at once."},
)
def reboot_server(c, limit=None, lock_wait="0", rolling=False, skip_unreachable=False):  # type: ignore[no-untyped-def]
    """Restart the application and prove that the live release runs and is well."""
    from .flows.steps import reboot_server as flow

    flow(_config(c), _options(c, limit, lock_wait, skip=skip_unreachable), by_batch=rolling)


@task(klass=FleetTask, auto_shortflags=False, help=_LOCKING)
def cleanup(c, limit=None, lock_wait="0"):  # type: ignore[no-untyped-def]
    """Remove old releases, and the venvs and wheels that none needs."""
    from .flows.steps import cleanup as flow

    flow(_config(c), _options(c, limit, lock_wait))


@task(klass=FleetTask, auto_shortflags=False, help={"message": "Why, for those who meet the lock."})
def lock(c, message=""):  # type: ignore[no-untyped-def]
    """Keep everybody from deploying to the stage."""
    from .flows.locking import lock as flow

    flow(_config(c), _options(c), message)


@task(klass=FleetTask, auto_shortflags=False, help={"force": "Even if it is somebody else's; it is said whose it was."})
def unlock(c, force=False):  # type: ignore[no-untyped-def]
    """Let go of the deploy lock."""
    from .flows.locking import unlock as flow

    flow(_config(c), _options(c), force=force)


@task(
    klass=FleetTask,
    auto_shortflags=False,
    help={"state": "`on`, or `off`.", "lock_wait": "Seconds to wait while somebody deploys, where balancers are told."},
)
def maintenance(c, state, lock_wait="0"):  # type: ignore[no-untyped-def]
    """Show a page instead of the application, by its hosts or by the balancer, until it is switched off."""
    from .flows.maintaining import maintenance as flow

    flow(_config(c), _options(c, lock_wait=lock_wait), state)


_BUNDLE = {"bundle": "The beginning of a digest, as bundle.list shows it; default: the bundle of the lock file."}


@task(
    klass=FleetTask,
    auto_shortflags=False,
    name="show",
    help={"bundle": f"{_BUNDLE['bundle'][:-1]}. Or an exported file."},
)
def bundle_show(c, bundle=None):  # type: ignore[no-untyped-def]
    """Show a bundle: target, lock file, signer, and each wheel with its origin."""
    from .flows.bundles import show as flow

    flow(_config(c), bundle)


@task(klass=FleetTask, auto_shortflags=False, name="list")
def bundle_list(c):  # type: ignore[no-untyped-def]
    """List the bundles of the wheelhouse, and which are of this project's lock files."""
    from .flows.bundles import show_all as flow

    flow(_config(c))


_DIFF = "A digest's beginning, an exported file, a lock file, or a git revision of it."


@task(klass=FleetTask, auto_shortflags=False, name="diff", help={"a": _DIFF, "b": "The same, for what comes after."})
def bundle_diff(c, a, b):  # type: ignore[no-untyped-def]
    """Show which packages bundle B adds, removes and changes, and what a host with A is sent."""
    from .flows.bundles import diff as flow

    flow(_config(c), a, b)


@task(klass=FleetTask, auto_shortflags=False, name="export", help={"file": "What to write: a tar file.", **_BUNDLE})
def bundle_export(c, file, bundle=None):  # type: ignore[no-untyped-def]
    """Write a bundle to one file, to be carried to where no index is."""
    from .flows.bundles import export as flow

    flow(_config(c), file, bundle)


@task(klass=FleetTask, auto_shortflags=False, name="import", help={"file": "What bundle.export wrote."})
def bundle_import(c, file):  # type: ignore[no-untyped-def]
    """Verify an exported bundle and take it into the wheelhouse."""
    from .flows.bundles import bring_in as flow

    flow(_config(c), file)


@task(
    klass=FleetTask,
    auto_shortflags=False,
    name="prune",
    help={"keep": "How many of the newest bundles stay, whosever they are."},
)
def bundle_prune(c, keep="20"):  # type: ignore[no-untyped-def]
    """Remove from the wheelhouse what neither the newest bundles nor this project need."""
    from .flows.bundles import prune as flow

    flow(_config(c), _options(c), keep)


@task(klass=FleetTask, auto_shortflags=False, help=_BUNDLE)
def audit(c, bundle=None):  # type: ignore[no-untyped-def]
    """Look for known vulnerabilities in what a bundle holds."""
    from .flows.auditing import audit as flow

    flow(_config(c), bundle)


@task(
    klass=FleetTask,
    auto_shortflags=False,
    name="put",
    help={
        **_LIMIT,
        "file": "A file here, or `-` for standard input.",
        "as": "Its path below `shared/`; default: its own name.",
        "mode": "Its mode on the hosts.",
    },
)
def shared_put(c, file, as_="", mode="0600", limit=None):  # type: ignore[no-untyped-def]
    """Upload one file into `shared/` of every host, readable for the deploy user alone."""
    from .flows.sharing import put as flow

    flow(_config(c), _options(c, limit), file, as_, mode)


@task(
    klass=FleetTask,
    auto_shortflags=False,
    name="diff",
    positional=[],
    help={
        **_LIMIT,
        "file": "A file here to compare with; without it, all of `shared.files` are compared.",
        "as": "Its path below `shared/`; default: its own name.",
    },
)
def shared_diff(c, file="", as_="", limit=None):  # type: ignore[no-untyped-def]
    """Say on which hosts files of `shared/` differ or are missing; never what is in them."""
    from .flows.sharing import diff as flow

    flow(_config(c), _options(c, limit), file, as_)


@task(
    klass=FleetTask,
    auto_shortflags=False,
    name="edit",
    help={
        **_LIMIT,
        "file": "Its path below `shared/`.",
        "from": "The host whose file is taken where they differ.",
    },
)
def shared_edit(c, file, from_="", limit=None):  # type: ignore[no-untyped-def]
    """Open $EDITOR on a copy of a file of `shared/`, which is destroyed afterwards, and upload it to every host."""
    from .flows.sharing import edit as flow

    flow(_config(c), _options(c, limit), file, from_)


def _stage_task(name: str) -> FleetTask:
    def choose(c):  # type: ignore[no-untyped-def]
        c.config.deploy.stage = name

    choose.__doc__ = f"Choose stage {name} for the tasks that follow."
    return FleetTask(choose, name=name)


def _namespace() -> Collection:
    collection = Collection(
        deploy, rollback, check, status, setup, targets, build, lock_requirements, create_bundle, push, update_deps,
        migrate_db, activate, reboot_server, cleanup, maintenance, lock, unlock, audit,
    )  # fmt: skip
    bundles = (bundle_show, bundle_list, bundle_diff, bundle_export, bundle_import, bundle_prune)
    collection.add_collection(Collection("bundle", *bundles))
    collection.add_collection(Collection("shared", shared_put, shared_diff, shared_edit))
    taken = {*collection.task_names, *collection.collections}
    for name in stage_names():
        if name in taken:
            raise DeployError(f"a stage cannot have the name of a task: {name}", where="deploy.stages")
        collection.add_task(_stage_task(name))
    # Scalars with a default, so that FABRIC_DEPLOY_STAGE and FABRIC_DEPLOY_DEFAULT_STAGE can set them.
    collection.configure({"deploy": {"stage": None, "default_stage": None}})
    return collection


if logging.getLogger().handlers:  # `fab --debug`; Invoke's next words are the whole configuration
    from .report import logs

    logs.guard()

try:
    ns = _namespace()
except DeployError as error:
    # The fabfile is being imported: Fabric prints the message of an Exit, and ends.
    raise Exit(f"error: {error}", code=int(error.exit_code)) from None
