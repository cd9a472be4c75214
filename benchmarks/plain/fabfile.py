"""What a team writes in an afternoon: the same application by a plain Fabric script, host by host."""

import os
import time

from fabric import Connection, task

BASE = "/srv/plain"
USER = "guestbook"


@task
def deploy(c):
    hosts = os.environ["BENCH_HOSTS"].split()
    release = time.strftime("%Y%m%d%H%M%S")
    for number, host in enumerate(hosts):
        with Connection(f"deploy@{host}", connect_kwargs={"key_filename": os.environ["BENCH_KEY"]}) as web:
            target = f"{BASE}/releases/{release}"

            def run(command, web=web):
                return web.run(f"sudo -n -u {USER} sh -c {command!r}", hide=True, in_stream=False)

            run(f"mkdir -p {target} {BASE}/shared {BASE}/wheels")
            ssh = f"ssh -F {os.environ['BENCH_SSH_CONFIG']}"
            c.run(
                f"rsync -a --delete -e '{ssh}' --rsync-path 'sudo -u {USER} rsync' --link-dest {BASE}/current "
                f"--exclude wheels.tar ./ deploy@{host}:{target}/",
                in_stream=False,
                hide=True,
            )
            c.run(
                f"rsync -a -e '{ssh}' --rsync-path 'sudo -u {USER} rsync' wheels.tar deploy@{host}:{BASE}/wheels.tar",
                in_stream=False,
                hide=True,
            )
            run(f"tar -C {BASE}/wheels -xf {BASE}/wheels.tar")
            run(f"python3 -m venv {target}/.venv")
            run(f"{target}/.venv/bin/pip install -q --no-index --find-links {BASE}/wheels -r {target}/requirements.txt")
            run(f"ln -s {BASE}/shared/.env {target}/.env; ln -s {BASE}/shared/data {target}/data")
            if number == 0:
                run(f"cd {target} && set -a && . ./.env && .venv/bin/python migrate.py")
            run(f"ln -sfn {target} {BASE}/current")
            web.run("sudo -n systemctl restart plain.service", hide=True, in_stream=False)
            web.run(
                "curl -sf --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:8001/",
                hide=True,
                in_stream=False,
            )
