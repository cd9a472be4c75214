"""A web application in one file: says which release it is, and that a compiled dependency works."""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import itsdangerous
import markupsafe

HERE = Path(__file__).resolve().parent
VERSION = (HERE / "version.txt").read_text().strip()
RELEASE = json.loads((HERE / ".release.json").read_text())["id"]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        well = "sick" not in VERSION
        answer = {
            "release": RELEASE,
            "version": VERSION,
            "secret": bool(os.environ.get("SECRET")),
            "speedups": markupsafe.escape.__module__,
            "signer": itsdangerous.__name__,
        }
        body = json.dumps(answer).encode()
        self.send_response(200 if well else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


if __name__ == "__main__":
    if "crash" in VERSION:
        sys.exit("this version crashes at start")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Handler).serve_forever()
