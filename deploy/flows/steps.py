"""Each step of a deploy as a flow of its own; in a row they do what `deploy` does. Each says what to run next."""

from __future__ import annotations

from fabric import Config

from ..errors import CheckFailed, DeployError, HookFailed, StagingFailed, combine
from ..fleet import parallel
from ..fleet.lock import whoami
from ..host.connection import Host
from . import (
    activating,
    auditing,
    bundling,
    committed,
    fitting,
    hooking,
    installing,
    making,
    matching,
    migrating,
    plan,
    preparing,
    probing,
    pushing,
    reverting,
    rolling,
    staging,
)
from .run import Options, Run, opened


def setup(config: Config, options: Options, *, packages: bool) -> None:
    """Make the directories on every host of the stage.

    :param packages: install what is lacking of ``system_packages``, too.
    """
    with opened(config, options) as run:
        run.connect()
        if options.dry:
            probing.probe(run)
            plan.show_setup(run)
            if packages:
                fitting.show_packages(run)
            return
        preparing.prepare(run, run.hosts)
        probing.probe(run)
        if packages:
            fitting.install_packages(run)
        for host in run.hosts:
            for name in run.facts[host]["shared_missing"]:
                run.report.say(f"still missing: {host.base_path}/shared/{name}", host.name)
        run.report.say(f"next: {run.fab('deploy')}")


def create_bundle(config: Config, options: Options, target: str | None) -> None:
    """Make the bundle of each target of the stage, locally: of the commit's lock file, where commits are deployed.

    :param target: names of target files; None for the targets that are configured.
    """
    with opened(config, options) as run:
        if run.settings.source.committed or options.revision:
            pushing.snapshot(run)
        wanted = list((matching.named(run) if target is None else matching.asked_for(run, target)).values())
        if not wanted:
            run.connect()
            probing.probe(run)
            wanted = list(bundling.targets(run).values())
        if options.dry:
            plan.show_bundles(run, wanted)
            return
        bundling.make(run, wanted)
        run.report.say(f"next: {run.fab('push')}")


def push(config: Config, options: Options) -> None:
    """Push the code into a new release that does not serve yet."""
    with opened(config, options) as run, hooking.on_failure(run):
        making.make(run)
        code = pushing.snapshot(run)
        pushing.tell(run, code)
        run.revision = code.revision
        run.connect()
        with run.locked("push"):
            probing.probe(run)
            probing.verify(run)
            if all(_pushed(run, host, code.digest) for host in run.hosts):
                run.report.say(f"nothing to push: {_staged(run, run.hosts[0])} holds this code already")
            elif options.dry:
                plan.show_push(run, code, pushing.new_identifier(run, code), run.hosts)
            else:
                staging.preparing_needed(run)
                release = pushing.new_identifier(run, code)
                hooking.reach(run, "before_push", dict.fromkeys(run.hosts, release), StagingFailed)
                pushing.push(run, code, release)
                _after_push(run, release)
        run.report.say(f"next: {run.fab('update-deps')}")


def _after_push(run: Run, release: str) -> None:
    try:
        hooking.reach(run, "after_push", dict.fromkeys(run.hosts, release), StagingFailed)
    except BaseException:
        pushing.discard(run, run.hosts, release)
        raise


def _staged(run: Run, host: Host) -> str:
    return str(run.facts[host]["staged"])


def _record(run: Run, host: Host, release: str) -> dict[str, object]:
    record: dict[str, object] = run.facts[host]["releases"].get(release, {})
    return record


def _pushed(run: Run, host: Host, digest: str) -> bool:
    record = _record(run, host, _staged(run, host))
    return record.get("tree") == digest and record.get("shared") == pushing.shared(run)


def update_deps(config: Config, options: Options) -> None:
    """Upload the missing wheels, make the venv, and complete the pushed release."""
    with opened(config, options) as run, hooking.on_failure(run):
        run.connect()
        with run.locked("update-deps"):
            probing.probe(run)
            probing.verify(run)
            if run.settings.source.committed:
                committed.use(run, [_staged(run, host) for host in run.hosts])
            matching.warn(run)
            staged = {host: release for host in run.hosts if (release := _staged(run, host))}
            if options.dry:
                hooking.reach(run, "before_deps", staged, StagingFailed)
                plan.show_bundles(run, bundling.targets(run).values())
                hooking.reach(run, "after_deps", staged, StagingFailed)
                return
            bundles = bundling.create(run)
            fitting.verify(run, bundles)
            auditing.gate(run, (bundle.manifest for bundle in bundles.values()))
            staging.preparing_needed(run)
            releases = {host: _incomplete(run, host, bundles[host].manifest.digest) for host in run.hosts}
            if staged:
                hooking.reach(run, "before_deps", staged, StagingFailed)
            installing.update_deps(run, bundles, releases)
            if staged:
                hooking.reach(run, "after_deps", staged, StagingFailed)
        if any(_staged(run, host) for host in run.hosts):
            first = "" if _migrates_last(run) else f"fab {run.stage} migrate-db, then "
            run.report.say(f"next: {first}{run.fab('activate')}")
        else:
            run.report.say(f"no release is pushed yet; next: {run.fab('push')}, then {run.fab('update-deps')}")


def _migrates_last(run: Run) -> bool:
    return run.settings.migrate is not None and run.settings.migrate.when == "after"


def _incomplete(run: Run, host: Host, digest: str) -> str:
    staged = _staged(run, host)
    record = _record(run, host, staged)
    done = record.get("state") == "staged" and record.get("bundle") == digest
    return "" if done else staged


def migrate_db(config: Config, options: Options) -> None:
    """Run the migration on the primary host, in the staged release."""
    with opened(config, options) as run, hooking.on_failure(run):
        if run.settings.migrate is None:
            run.report.say("no migration is configured (deploy.migrate.command)")
            return
        run.hosts = [run.primary]
        run.connect()
        with run.locked("migrate-db"):
            probing.probe(run)
            staged = _complete(run, run.primary)
            release = staged or str(run.facts[run.primary]["live"])
            if not release:
                raise CheckFailed("there is no release to migrate in", where=run.primary.name, hint=run.fab("push"))
            if not staged:
                run.report.say(f"nothing is staged; migrating in the live release {release}")
            if options.dry:
                plan.show_migration(run, {run.primary: release}, release)
                return
            migrating.migrate(run, {run.primary: release}, release, live=not staged)
        if staged:
            run.report.say(f"next: {run.fab('activate')}")


def _complete(run: Run, host: Host) -> str:
    """The staged release of *host*, '' where none is.

    :raises CheckFailed: it is pushed and has no venv yet.
    """
    staged = _staged(run, host)
    if staged and _record(run, host, staged).get("state") != "staged":
        raise CheckFailed(f"release {staged} has no venv yet", where=host.name, hint=run.fab("update-deps"))
    return staged


def activate(config: Config, options: Options) -> None:
    """Switch to the staged release; the restart is a step of its own."""
    with opened(config, options) as run, hooking.on_failure(run):
        run.connect()
        with run.locked("activate"):
            probing.probe(run)
            staged = {host: _complete(run, host) for host in run.hosts}
            lacking = [host.name for host, release in staged.items() if not release]
            if len(lacking) == len(staged):
                run.report.say("nothing is staged, so there is nothing to activate")
                return
            if lacking:
                raise CheckFailed(
                    f"nothing is staged on {', '.join(lacking)}",
                    hint=f"{run.fab('push')}, then {run.fab('update-deps')}",
                )
            if options.dry:
                plan.show_activation(run, staged)
                return
            hooking.reach(run, "before_activate", staged, StagingFailed)
            run.assert_locked()
            _switch(run, staged)
            unwatched = {host: release for host, release in staged.items() if not _watched(run, host)}
            if unwatched:
                activating.settle(run, unwatched, entry(run, "activate"), clean=False)
                hooking.reach(run, "after_deploy", unwatched, HookFailed)
        run.report.say(f"next: {run.fab('reboot-server')}")


def _switch(run: Run, staged: activating.Releases) -> None:
    _, failures = parallel.attempt(list(staged), lambda host: activating.switch(run, host, staged[host]))
    if failures:
        cause = combine(list(failures.values()))
        reverting.revert(run, staged, cause)
        raise cause
    try:
        hooking.reach(run, "after_activate", staged, DeployError)
    except DeployError as error:
        raise activating.gone_back(run, staged, error) from None


def _watched(run: Run, host: Host) -> bool:
    return run.service(host) is not None or run.health(host) is not None


def reboot_server(config: Config, options: Options, *, by_batch: bool) -> None:
    """Restart the application, then look whether it is well; a release that never was goes back.

    :param by_batch: batch by batch; else all hosts at once.
    """
    with opened(config, options) as run, hooking.on_failure(run):
        run.connect()
        with run.locked("reboot-server"):
            probing.probe(run)
            live = {host: str(run.facts[host]["live"]) for host in run.hosts}
            without = [host.name for host, release in live.items() if not release]
            if without:
                raise CheckFailed(f"no release is live on {', '.join(without)}", hint=run.fab("deploy"))
            if options.dry:
                if by_batch:
                    plan.show_batches(run, live, canary=False)
                plan.show_restart(run, live)
                return
            unproven = {host: name for host, name in live.items() if _record(run, host, name).get("state") != "good"}
            if by_batch:
                rolling.verify(run, live, canary=False)
            (rolling.restart if by_batch else activating.reboot)(run, live, unproven)
            if unproven:
                activating.settle(run, unproven, entry(run, "reboot-server"), clean=False)
                hooking.reach(run, "after_deploy", unproven, HookFailed)
        run.report.say(f"next: {f'fab {run.stage} migrate-db' if _migrates_last(run) else run.fab('cleanup')}")


def cleanup(config: Config, options: Options) -> None:
    """Remove what no release needs any more."""
    with opened(config, options) as run:
        run.connect()
        with run.locked("cleanup"):
            if options.dry:
                run.report.say(f"would keep the last {run.settings.keep_releases} good releases on each host")
                return

            def clean(host: Host) -> None:
                with run.report.step("clean up", host.name) as step:
                    step.outcome = activating.cleanup(run, host) or "nothing to remove"

            parallel.each(run.hosts, clean)


def entry(run: Run, event: str) -> dict[str, object]:
    """The journal's words for this run."""
    who = whoami()
    left_out = {"left_out": [host.name for host in run.unreachable]} if run.unreachable else {}
    return {"event": event, "stage": run.stage, "by": f"{who['user']}@{who['host']}", **left_out}
