"""`fab targets`: what the hosts' wheels must fit, shown and written down."""

from __future__ import annotations

from fabric import Config

from ..bundle import Target, targetfile
from . import probing
from .run import Options, Run, opened


def targets(config: Config, options: Options) -> None:
    """Ask the hosts, show their targets, and write a file for each into `targets/` beside the fabfile."""
    with opened(config, options) as run:
        run.connect()
        probing.probe(run)
        hosts: dict[Target, list[str]] = {}
        for host in run.hosts:
            hosts.setdefault(Target.from_facts(run.facts[host]), []).append(host.name)
        names = targetfile.names(hosts)
        rows = [
            [name, ", ".join(hosts[target]), target.full_python, target.libc_version, target.machine]
            for target, name in names.items()
        ]
        run.report.table(["target", "hosts", "python", "libc", "machine"], rows)
        _write(run, names)
        run.report.say(f"next, wherever the wheels are to be made: {_create_bundle(run, names)}")


def _write(run: Run, names: dict[Target, str]) -> None:
    folder = run.directory / targetfile.FOLDER
    for target, name in names.items():
        path = folder / f"{name}.json"
        if run.options.dry:
            run.report.say(f"would write {targetfile.FOLDER}/{path.name}")
        elif targetfile.write(path, target):
            run.report.say(f"wrote {targetfile.FOLDER}/{path.name}; commit it")
        else:
            run.report.say(f"{targetfile.FOLDER}/{path.name} is up to date")
    if not run.options.limit:
        for path in targetfile.written(folder):
            if path.stem not in names.values():
                run.report.say(f"{targetfile.FOLDER}/{path.name}: no host of {run.stage} is like that")


def _create_bundle(run: Run, names: dict[Target, str]) -> str:
    return f"fab {run.stage} create-bundle --target {','.join(names.values())}"
