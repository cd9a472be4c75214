"""Three hosts with gunicorn behind a host with real balancers, and what these balancers say."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request

from tests.fleet.machines import Machine
from tests.fleet.project import Project

NAMES = ("web1", "web2", "web3")
SOCKET = "/run/haproxy/admin.sock"

# It takes its time, so that requests are under way whenever a host is taken out.
APP = """\
import json
import os
import time
VERSION = open("version.txt").read().strip()
def application(environ, start):
    if environ["PATH_INFO"] == "/health":
        sick = VERSION.endswith("-broken") or os.path.exists("/srv/tiny/shared/refuse-" + VERSION)
        sick |= environ["REMOTE_ADDR"] != "127.0.0.1" and os.path.exists("/srv/tiny/shared/shy")
        start("500 broken" if sick else "200 OK", [("Content-Length", "0")])
        return [b""]
    if environ["PATH_INFO"] == "/up":
        start("200 OK" if os.path.exists("/srv/tiny/shared/up") else "404 Not Found", [("Content-Length", "0")])
        return [b""]
    while environ["PATH_INFO"] == "/held" and os.path.exists("/srv/tiny/shared/held"):
        time.sleep(0.1)
    if os.path.exists("/srv/tiny/shared/maintenance.html"):
        page = open("/srv/tiny/shared/maintenance.html", "rb").read()
        start("503 Service Unavailable", [("Content-Length", str(len(page)))])
        return [page]
    time.sleep(0.05)
    answer = json.dumps({"version": VERSION}).encode()
    start("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
"""

UNIT = """\
[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
User=guestbook
WorkingDirectory=/srv/tiny/current
ExecStart=/usr/bin/env .venv/bin/gunicorn --bind 0.0.0.0:8000 --threads 8 web
"""

# No second try and no other server for a request that fails: what is lost is seen.
HAPROXY = """\
global
    stats socket {socket} mode 660 level admin
    stats socket ipv4@0.0.0.0:9999 level admin
defaults
    mode http
    retries 0
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout check 5s
frontend all
    bind :80
    default_backend web
backend web
    option httpchk GET /health
    errorfile 503 /etc/haproxy/maintenance.http
    default-server check inter 200ms fall 2 rise 2
{servers}
# The same servers, as long as a file of theirs says so.
frontend by_file
    bind :81
    default_backend by_file
backend by_file
    option httpchk GET /up
    http-check disable-on-404
    default-server check inter 100ms fall 2 rise 1
{servers}
"""

# No second try either.
NGINX = """\
upstream web {{
{servers}}}
server {{
    listen 82;
    error_page 502 =503 /maintenance.html;
    location / {{ proxy_pass http://web; proxy_next_upstream off; }}
    location = /maintenance.html {{ root /var/www/html; }}
}}
"""
PAGE = "the balancer's page"
UPSTREAM = "/etc/nginx/conf.d/web.conf"


def furnish(balancer: Machine, webs: list[Machine]) -> None:
    """haproxy on ports 80 and 81, nginx on port 82."""
    servers = "".join(f"    server {web.name} {web.address}:8000\n" for web in webs)
    balancer.write("/etc/haproxy/haproxy.cfg", HAPROXY.format(socket=SOCKET, servers=servers))
    balancer.write("/etc/haproxy/maintenance.http", f"HTTP/1.0 503 Service Unavailable\r\n\r\n{PAGE}")
    balancer.write("/var/www/html/maintenance.html", PAGE)
    balancer.write(UPSTREAM, NGINX.format(servers="".join(f"    server {web.address}:8000;\n" for web in webs)))
    balancer.join(*webs)
    balancer.run("rm -f /etc/nginx/sites-enabled/default; systemctl restart nginx haproxy")


def provide(project: Project) -> None:
    """An application that says whether it is well and in balance."""
    (project.directory / "web.py").write_text(APP)
    project.need_gunicorn()
    for machine in project.machines:
        machine.write("/etc/systemd/system/tiny.service", UNIT)
        machine.run("systemctl daemon-reload")


def renew(project: Project, balancer: Machine) -> None:
    """The configuration that all tests begin with."""
    haproxy = {
        "kind": "haproxy", "hosts": [f"deploy@{balancer.address}"], "socket": SOCKET, "user": "root", "backend": "web",
        "drain_timeout": 10,
    }  # fmt: skip
    project.section.pop("maintenance", None)
    hosts = [{"host": f"deploy@{each.address}", "balancer_name": each.name} for each in project.machines]
    project.configure(rolling={"batch": 1}, balancer=haproxy, stages={"production": {"hosts": hosts}})


def change(project: Project, suffix: str = "") -> str:
    """A new version, and its name."""
    name = f"{time.time_ns()}{suffix}"
    project.version(name)
    return name


def tell(balancer: Machine, command: str) -> str:
    """What haproxy answers, as an administrator would ask it."""
    return balancer.run(
        f"python3 -c \"import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect('{SOCKET}'); "
        's.sendall(sys.stdin.buffer.read()); print(s.makefile().read())"',
        input=f"{command}\n",
    ).stdout


def ask(balancer: Machine, port: int = 80) -> str:
    """The version that one of the hosts serves, or the page that is shown instead."""
    try:
        with urllib.request.urlopen(f"http://{balancer.address}:{port}/", timeout=20) as answer:
            version: str = json.load(answer)["version"]
            return version
    except urllib.error.HTTPError as refusal:
        assert refusal.code == 503
        return refusal.read().decode()


def statuses(balancer: Machine, backend: str = "web") -> list[str]:
    """What haproxy says of each server."""
    rows = [line.split(",") for line in tell(balancer, "show stat").splitlines()]
    return [next(row[17] for row in rows if row[:2] == [backend, name]) for name in NAMES]


def orders(balancer: Machine, backend: str = "web") -> list[str]:
    """What haproxy was told of each server: "0" to send it requests (its management manual, ``show servers state``)."""
    rows = [line.split(" ") for line in tell(balancer, f"show servers state {backend}").splitlines()]
    return [next(row[6] for row in rows if row[3:4] == [name]) for name in NAMES]


def await_up(balancer: Machine, backend: str = "web", count: int = 3) -> None:
    """Wait until haproxy's checks find so many well."""
    deadline = time.monotonic() + 30
    while statuses(balancer, backend).count("UP") != count:
        assert time.monotonic() < deadline
        time.sleep(0.1)
