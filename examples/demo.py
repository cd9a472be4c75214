"""What `bin/demo` does once `.venv` is there: two SSH hosts on loopback, and the real `fab deploy` to them."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

from loopback import Client, LoopbackHost, taken

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / ".demo"
APP = DEMO / "app"
FAB = Path(sys.executable).with_name("fab")
HOSTS = {"web1": (22101, 8101), "web2": (22102, 8102)}


def main() -> int:
    if sys.argv[1:] == ["stop"]:
        return stop()
    if sys.argv[1:]:
        print("usage: bin/demo [stop]", file=sys.stderr)
        return 2
    try:
        client = Client(DEMO)
        for name, (ssh, _) in HOSTS.items():
            host = LoopbackHost(DEMO / name / "sshd", client, ssh)
            host.start()
            print(f"{name}: {host.kind} on 127.0.0.1 port {ssh}", flush=True)
    except RuntimeError as error:
        print(f"error: {error}; end that program, or bin/demo stop", file=sys.stderr)
        return 2
    for name, (_, web) in HOSTS.items():
        if taken(web) and not (DEMO / name / "srv/shared/gunicorn.pid").exists():
            print(f"error: port {web} is taken by another program", file=sys.stderr)
            return 2
    prepare()
    if requirements() == "requirements-native.txt":
        print("a compiler is here: one dependency is built from its C source", flush=True)
    code = subprocess.run([FAB, "deploy"], cwd=APP, check=False).returncode
    if code == 0 and not all(taken(web) for _, web in HOSTS.values()):
        # bin/demo stop ended them, and a deploy that has nothing to change restarts nothing.
        code = subprocess.run([FAB, "restart"], cwd=APP, check=False).returncode
    if code == 0:
        say()
    return code


def prepare() -> None:
    """The application to play with, its configuration, and what an administrator puts on each host."""
    if not APP.exists():
        shutil.copytree(ROOT / "examples/guestbook", APP, ignore=shutil.ignore_patterns("__pycache__", "*.sqlite3"))
    (APP / "fabric.yaml").write_text(configuration())
    secret = secrets.token_hex(32)
    for name, (_, web) in HOSTS.items():
        env = DEMO / name / "srv/shared/.env"
        if not env.exists():
            env.parent.mkdir(parents=True, exist_ok=True)
            env.touch(mode=0o600)
            env.write_text(
                f"SECRET_KEY={secret}\nGUESTBOOK_BIND=127.0.0.1:{web}\nDATABASE_PATH={DEMO / 'database.sqlite3'}\n"
            )


def requirements() -> str:
    header = Path(sysconfig.get_path("include")) / "Python.h"
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    return "requirements-native.txt" if compiler and header.exists() else "requirements.txt"


def configuration() -> str:
    hosts = "".join(
        f"""
        - host: 127.0.0.1:{ssh}
          base_path: {DEMO / name / "srv"}
          health: {{url: "http://127.0.0.1:{web}/health", timeout: 30}}"""
        for name, (ssh, web) in HOSTS.items()
    )
    return f"""\
# Made by bin/demo: the guestbook on two SSH hosts that are both this machine.
tasks: {{executor_class: deploy.executor.Executor}}
deploy:
  app: guestbook
  base_path: /srv/guestbook
  python: {getattr(sys, "_base_executable", sys.executable)}
  requirements: {requirements()}
  index: {{ambient: true}}
  known_hosts: ../known_hosts
  identity: ../id_ed25519
  source: {{strategy: auto, path: .}}
  shared: {{files: [.env], dirs: [media]}}
  migrate: {{command: python manage.py migrate --noinput}}
  # On a server this would be {{manager: systemd, unit: guestbook.service}}.
  service: {{manager: command, command: sh bin/serve restart, pidfile: shared/gunicorn.pid, sudo: false}}
  stages:
    demo:
      hosts:{hosts}
"""


def say() -> None:
    urls = "\n".join(f"  http://127.0.0.1:{web}/" for _, web in HOSTS.values())
    try:
        app = os.path.relpath(APP)
        fab = os.path.relpath(FAB, APP)
    except ValueError:
        app, fab = str(APP), str(FAB)
    print(
        f"""
The guestbook serves, from two hosts with one database:
{urls}

Try next:
  cd {app}
  {fab} status
  sed -i.bak 's/<h1>Guestbook/<h1>Our guestbook/' templates/book.html
  {fab} deploy             # only what changed travels
  {fab} rollback           # the former release, with no build and no upload
  {fab} --list

To stop it: {os.path.relpath(ROOT / "bin/demo")} stop"""
    )


def stop() -> int:
    for name, (ssh, _) in HOSTS.items():
        pidfile = DEMO / name / "srv/shared/gunicorn.pid"
        with suppress(OSError, ValueError):
            os.kill(int(pidfile.read_text()), signal.SIGTERM)
        if (DEMO / "id_ed25519").exists():
            LoopbackHost(DEMO / name / "sshd", Client(DEMO), ssh).stop()
    print("stopped; .demo keeps the releases, bin/demo starts it again")
    return 0


if __name__ == "__main__":
    sys.exit(main())
