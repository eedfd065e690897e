"""A local nginx with a configuration of its own: static photos, with and without a delay before each answer."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import requests

from include.sandbox.services.airflow_api import direct_session
from include.sandbox.services.mariadb import find_program
from include.sandbox.services.ports import check_port_is_free
from include.sandbox.services.process import tail

from .corpus import ROOT
from .settings import BASE, DELAY_SECONDS, WEB_HOSTS, WEB_PORT

_HOME = BASE / "nginx"
_LOG = _HOME / "access.log"
_ECHO_MODULE = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")
_FLUSH_SECONDS = 1.0

_CONFIGURATION = """\
daemon off;
{user}load_module {module};
worker_processes 1;
worker_rlimit_nofile 8192;
pid {home}/nginx.pid;
error_log {home}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    types {{ image/jpeg jpg; image/png png; image/webp webp; image/gif gif; }}
    log_format times '$msec $request_time $status $body_bytes_sent $request_uri';
    access_log {log} times buffer=256k flush=1s;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000;
    open_file_cache max=20000;
    server {{
        {listens}
        root {root};
        location ~ ^/slow(/.+)$ {{
            set $wanted $1;
            echo_sleep {delay};
            echo_exec $wanted;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Served:
    """What the server saw between two moments: requests and answers of 200, first request and last answer (epoch)."""

    requests: int
    complete: int
    first: float
    last: float


class WebServer:
    """Use it in a ``with`` block."""

    def __enter__(self) -> WebServer:
        if not _ECHO_MODULE.exists():
            raise SystemExit(f"{_ECHO_MODULE} is missing: run scripts/bootstrap.sh bench (make bench-images does)")
        _HOME.mkdir(parents=True, exist_ok=True)
        ROOT.mkdir(parents=True, exist_ok=True)
        for host in WEB_HOSTS:
            check_port_is_free(host, WEB_PORT, "nginx")
        configuration = _HOME / "nginx.conf"
        configuration.write_text(_configuration())
        _LOG.unlink(missing_ok=True)
        command = [find_program("nginx"), "-p", str(_HOME), "-c", str(configuration), "-e", str(_HOME / "error.log")]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self._wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for name in ("body", "proxy", "fastcgi", "uwsgi", "scgi"):
            shutil.rmtree(_HOME / name, ignore_errors=True)

    def urls(self, paths: list[str], *, delayed: bool) -> list[str]:
        """Return the URLs of these paths, dealt to the twenty hosts in turn."""
        prefix = "/slow" if delayed else ""
        return [
            f"http://{WEB_HOSTS[number % len(WEB_HOSTS)]}:{WEB_PORT}{prefix}{path}" for number, path in enumerate(paths)
        ]

    def mark(self) -> int:
        """Return where the log ends: give it to `served`."""
        time.sleep(_FLUSH_SECONDS + 0.2)
        return _LOG.stat().st_size

    def served(self, mark: int) -> Served:
        """Return what was asked since ``mark``."""
        time.sleep(_FLUSH_SECONDS + 0.2)
        with _LOG.open() as file:
            file.seek(mark)
            lines = [line.split(" ", 4) for line in file]
        if not lines:
            return Served(0, 0, 0.0, 0.0)
        ends = [float(line[0]) for line in lines]
        starts = [end - float(line[1]) for end, line in zip(ends, lines, strict=True)]
        return Served(len(lines), sum(line[2] == "200" for line in lines), min(starts), max(ends))

    def _wait(self) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                with direct_session() as session:
                    session.get(f"http://{WEB_HOSTS[-1]}:{WEB_PORT}/", timeout=2)
                break
            except requests.RequestException:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"nginx did not start:\n{tail(_HOME / 'error.log')}") from None
                time.sleep(0.05)


def _configuration() -> str:
    return _CONFIGURATION.format(
        user="user root;\n" if os.getuid() == 0 else "",
        module=_ECHO_MODULE,
        home=_HOME,
        log=_LOG,
        root=ROOT,
        delay=DELAY_SECONDS,
        listens="\n        ".join(f"listen {host}:{WEB_PORT} backlog=1024;" for host in WEB_HOSTS),
    )
