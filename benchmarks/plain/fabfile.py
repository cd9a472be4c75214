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
            ssh = f"ssh -F {os.environ['BENCH_SSH_CONFIG']} -p {web.port}"
            c.run(
                f"rsync -a --delete -e '{ssh}' --rsync-path 'sudo -u {USER} rsync' --link-dest {BASE}/current "
                f"--exclude wheels.tar ./ deploy@{web.host}:{target}/",
                in_stream=False,
                hide=True,
            )
            c.run(
                f"rsync -a -e '{ssh}' --rsync-path 'sudo -u {USER} rsync' "
                f"wheels.tar deploy@{web.host}:{BASE}/wheels.tar",
                in_stream=False,
                hide=True,
            )
            run(f"tar -C {BASE}/wheels -xf {BASE}/wheels.tar")
            run(f"python3 -m venv {target}/.venv")
            pip = f"{target}/.venv/bin/pip install -q --no-index --find-links {BASE}/wheels --require-hashes"
            run(f"{pip} -r {target}/requirements.txt")
            run(f"ln -s {BASE}/shared/.env {target}/.env; ln -s {BASE}/shared/data {target}/data")
            if number == 0:
                run(f"cd {target} && set -a && . ./.env && .venv/bin/python migrate.py")
            run(f"ln -sfn {target} {BASE}/current")
            web.run("sudo -n systemctl restart plain.service", hide=True, in_stream=False)
            # Asked as often as the others ask: a pause of a second here would be time that nobody worked.
            web.run(
                "for n in $(seq 200); do curl -sf http://127.0.0.1:8001/ && exit 0; sleep 0.05; done; exit 1",
                hide=True,
                in_stream=False,
            )
