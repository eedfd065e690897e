"""The world of a test: the real sandbox made empty, a country's context, and looks at every place where work shows."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from imagesys_lib import cli
from imagesys_lib.config.intervals import local_day
from imagesys_lib.context import Context, open_context
from imagesys_lib.db.engine import read, write
from imagesys_lib.db.schema import country_metadata, lis_images, lis_live_images, shared_metadata
from imagesys_lib.images.hash_and_path import lis_hash_for_url
from imagesys_lib.output import logs
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run, RunKind
from imagesys_lib.stages.pipeline import run_pipeline
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.purge.delete import delete_files
from imagesys_lib.stages.purge.rules import Cutoffs, PurgeRule
from imagesys_lib.stages.purge.unpublish import unpublish
from imagesys_lib.stages.report import Summary
from imagesys_lib.stages.sync import sync
from include.sandbox import ManifestEntry, Sandbox
from include.sandbox.environment import write_config
from include.sandbox.feed.listings import Listing
from include.sandbox.services import process

COUNTRY = "uk"
DAY = dt.date(2026, 3, 28)
NODES = ("n1", "n2", "n3")
SNAPSHOT = "imagesys_snapshot"
CONSOLE_SCRIPT = Path(sys.executable).with_name("imagesys")

QUICK: dict[str, Any] = {
    "batch": {"size": 50, "lease_seconds": 5},
    "fetch": {"pause_between_tries": 0.1, "image_deadline": 4, "read_timeout": 3, "connect_timeout": 2},
    "transfer": {"connect_timeout": 3, "lock_timeout": 20},
    "purge": {"grace_hours": 0},
    "recheck": {"percent": 0},
}


@dataclasses.dataclass(frozen=True)
class Ran:
    """What a command did: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class World:
    """One country on real services. Everything is empty at first; what a test opens is closed with it."""

    def __init__(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sandbox, self.patch = sandbox, monkeypatch
        self.country = COUNTRY
        self._contexts: list[Context] = []
        self._children: list[subprocess.Popen[str]] = []
        self._runs = 0
        self.dead_before = dead_children()  # of other tests, which kill what they started
        self._set_environment()
        self.configure()
        self.ctx = self.context()
        self._empty()
        self.forget_requests()

    # Setting up

    def _set_environment(self) -> None:
        for name in [name for name in os.environ if name.startswith(("AIRFLOW_CONN_", "IMAGESYS_"))]:
            self.patch.delenv(name)
        for name, value in self.sandbox.environment().items():
            self.patch.setenv(name, value)

    def configure(self, **overrides: Any) -> None:
        """Write the sandbox's configuration: quick, and with ``overrides`` of its defaults."""
        layers = {**QUICK}
        for key, value in overrides.items():
            layers[key] = {**layers.get(key, {}), **value} if isinstance(value, Mapping) else value
        write_config(self.sandbox.settings, layers)

    def reconfigure(self, **overrides: Any) -> Context:
        """Write the configuration and work with it from now on."""
        self.configure(**overrides)
        self.ctx = self.context()
        return self.ctx

    def context(self, **options: Any) -> Context:
        """Open a context of its own, closed at the end of the test."""
        return self.context_of(COUNTRY, **options)

    def context_of(self, country: str, **options: Any) -> Context:
        """Do so for any country."""
        ctx = open_context(country, **options)
        self._contexts.append(ctx)
        return ctx

    def _empty(self) -> None:
        for name in NODES:
            remove_below(self.root(name))
        self.sandbox.website.set_delay(0)
        self.sandbox.etl.empty(COUNTRY)
        self.sandbox.manifest.remove(COUNTRY)
        remove_below(self.staging)
        self.write_all(self.ctx.db, [sa.delete(table) for table in country_metadata.tables.values()])
        self.write_all(self.ctx.shared, [sa.delete(table) for table in shared_metadata.tables.values()])

    def close(self) -> None:
        """Close and end what the test has left."""
        for child in self._children:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
        for ctx in self._contexts:
            ctx.close()
        for name in NODES:
            self._start_again(name)
        self.sandbox.website.set_delay(0)

    def _start_again(self, name: str) -> None:
        """Start a node that does not run as it should; the question whether it answers costs an sshd each time."""
        node, record = self.sandbox.nodes[name], process.read_record(self.sandbox.settings, name)
        if not (record and record.running and record.fingerprint == node.service().fingerprint):
            node.start()

    def seed(self, images: int = 40, *, broken_share: float = 0.0, **options: Any) -> dict[str, ManifestEntry]:
        """Fill the ETL and the web site; all photos are good ones if ``broken_share`` is 0."""
        return self.sandbox.etl.seed(
            COUNTRY,
            images=images,
            last_day=options.pop("last_day", DAY),
            time_zone="Europe/London",
            broken_share=broken_share,
            **options,
        )

    def put(self, listing_id: str, *urls: str, at: dt.datetime | None = None, datasource: int = 101) -> list[str]:
        """Put one listing into the ETL (naive UTC, noon of the day if not given); returns the hashes of its URLs."""
        moment = at or dt.datetime.combine(DAY, dt.time(12))
        self.sandbox.etl.put(COUNTRY, Listing(listing_id, datasource, tuple(urls), moment))
        return [lis_hash_for_url(url) for url in urls]

    def with_live_photos(self) -> dict[str, ManifestEntry]:
        """Bring 40 photos live on three nodes; after the first time from a copy of database and trees."""
        entries = self.seed(40)
        store = self.sandbox.settings.base / "snapshot"
        tables = [table.name for table in country_metadata.sorted_tables]
        if not (store / "complete").exists():
            summary = self.pipeline(self.run(run_id="live"))
            assert not summary.lost
            assert summary.states == {"live": 40}
            shutil.rmtree(store, ignore_errors=True)
            statements = [f"DROP SCHEMA IF EXISTS {SNAPSHOT}", f"CREATE SCHEMA {SNAPSHOT} CHARACTER SET utf8mb4"]
            for name in tables:
                statements += [f"CREATE TABLE {SNAPSHOT}.{name} LIKE {name}"]
                statements += [f"INSERT INTO {SNAPSHOT}.{name} SELECT * FROM {name}"]
            self.write_all(self.ctx.db, map(sa.text, statements))
            for name in NODES:
                shutil.copytree(self.root(name), store / name)
            (store / "complete").touch()
        else:
            self.write_all(
                self.ctx.db, [sa.text(f"INSERT INTO {name} SELECT * FROM {SNAPSHOT}.{name}") for name in tables]
            )
            for name in NODES:
                shutil.copytree(store / name, self.root(name), dirs_exist_ok=True)
        self.forget_requests()
        return entries

    # Doing

    def run(
        self, kind: RunKind = RunKind.SCHEDULED, day: dt.date = DAY, *, force: bool = False, run_id: str | None = None
    ) -> Run:
        """Return a run of one local day with an id of its own."""
        self._runs += 1
        return Run(run_id or f"test-{self._runs}", kind, local_day(day, self.ctx.config.zone), force)

    def pipeline(self, run: Run | None = None, say: Callable[[str], None] = lambda _line: None) -> Summary:
        """Run every stage."""
        return run_pipeline(self.ctx, run or self.run(), say)

    def purge_now(self, hashes: Sequence[str]) -> int:
        """Purge images that no listing shows, both phases at once and no question asked; returns how many."""
        cut = Cutoffs(self.scalar(sa.select(sa.func.utc_timestamp(6))))
        write(self.ctx.db, lambda connection: unpublish(connection, hashes, PurgeRule.UNLISTED, cut, grace_hours=0))
        ids = [row.image_id for row in self.images().values() if row.image_hash in hashes]
        return len(write(self.ctx.db, lambda connection: delete_files(connection, ids, cut)))

    def planned(self, images: int) -> tuple[Run, int]:
        """Begin a run with one batch of so many new images; returns it and the batch's id."""
        self.new_images(images)
        run = self.run()
        runs.begin(self.ctx.db, run)
        return run, plan(self.ctx, run)[0].batch_id

    def sync_all(self) -> None:
        """Bring all nodes up to date, at once."""
        pairs = [(self.context(), name) for name in NODES]
        in_threads(*[lambda pair=pair: sync(*pair) for pair in pairs])

    def cli(self, *arguments: str) -> Ran:
        """Run the command line in this process, as the console script does."""
        root = logging.getLogger()
        level, handler = root.level, signal.getsignal(signal.SIGTERM)
        capture = pytest.MonkeyPatch()
        with capture.context() as patch, Captured() as captured:
            patch.setattr(sys, "argv", ["imagesys", *arguments])
            code: Any = 0
            try:
                cli.main()
            except SystemExit as end:
                code = end.code
            finally:
                while logs._installed:
                    installed = logs._installed.pop()
                    root.removeHandler(installed)
                    installed.close()
                root.setLevel(level)
                signal.signal(signal.SIGTERM, handler)
        return Ran(int(code or 0), captured.out, captured.err)

    def child_environment(self) -> dict[str, str]:
        """The environment in which compiled modules are kept: a command starts in a third of the time."""
        return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def spawn(
        self, *arguments: str, program: Sequence[str] = (str(CONSOLE_SCRIPT),), stderr: int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        """Start the console script as a process and session of its own; it never outlives the test."""
        child = subprocess.Popen(
            [*program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=self.child_environment(),
            start_new_session=True,
        )
        self._children.append(child)
        return child

    # Looking

    @property
    def staging(self) -> Path:
        return self.sandbox.settings.base / "staging"

    def root(self, node: str) -> Path:
        return self.sandbox.nodes[node].root

    def tree(self, node: str) -> dict[str, str]:
        """The SHA-1 of every file that a node's web server could serve, by path below its root."""
        root = self.root(node)
        return {
            str(path.relative_to(root)): hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file() and path.relative_to(root).parts[0] != ".imagesys"
        }

    def trees(self) -> dict[str, dict[str, str]]:
        return {name: self.tree(name) for name in NODES}

    def equal_trees(self) -> dict[str, str]:
        """Assert that all nodes hold the same files and return them."""
        trees = self.trees()
        assert trees["n1"] == trees["n2"] == trees["n3"]
        return trees["n1"]

    def rows(self, statement: sa.Executable) -> Sequence[Any]:
        return read(self.ctx.db, statement)

    def scalar(self, statement: sa.Executable) -> Any:
        return self.rows(statement)[0][0]

    def images(self) -> dict[str, Any]:
        """The work state by URL."""
        return {row.image_url: row for row in self.rows(sa.select(lis_images))}

    def states(self) -> dict[str, str]:
        """By URL: ``live``, or the state, with its reason if there is one."""
        return {url: row.state + (f":{row.reason}" if row.reason else "") for url, row in self.images().items()}

    def count(self) -> Counter[str]:
        return Counter(row.state for row in self.images().values())

    def live(self) -> dict[str, Any]:
        """The published rows by URL."""
        return {row.image_url: row for row in self.rows(sa.select(lis_live_images))}

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything in the country's schema."""
        return {
            name: sorted(tuple(map(str, row)) for row in self.rows(sa.select(table)))
            for name, table in country_metadata.tables.items()
        }

    def forget_requests(self) -> None:
        self._offset = self.sandbox.website.log_offset()

    def requests(self) -> Counter[str]:
        """Requests that reached the web site since the test began or last forgot them, by path."""
        return self.sandbox.website.request_counts(self._offset)

    def staged(self, kind: str) -> list[str]:
        """Files below staging's ``originals`` or ``out``, hidden ones too."""
        folder = self.staging / kind
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    # Changing behind the back of the library

    def write_all(self, engine: sa.Engine, statements: Any) -> None:
        def work(connection: sa.Connection) -> None:
            for statement in statements:
                connection.execute(statement)

        write(engine, work)

    def sql(self, text: str, **parameters: Any) -> None:
        self.write_all(self.ctx.db, [sa.text(text).bindparams(**parameters)])

    def new_images(self, count: int, prefix: str = "http://127.0.0.11:1/") -> list[str]:
        """Insert images in state new, with no ETL behind them."""
        now = sa.func.utc_timestamp(6)
        urls = [f"{prefix}{number}.jpg" for number in range(count)]
        rows = [
            {
                "image_url": url,
                "image_hash": lis_hash_for_url(url),
                "datasource_id": 1,
                "etl_version": dt.datetime.combine(DAY, dt.time()),
            }
            for url in urls
        ]
        statement = sa.insert(lis_images).values(
            state="new", desired="none", next_attempt_at=now, created_at=now, updated_at=now
        )
        write(self.ctx.db, lambda connection: connection.execute(statement, rows))
        return urls


class Captured:
    """Standard output and error of a block, whoever writes to them."""

    def __enter__(self) -> Captured:
        self._out, self._err = io.StringIO(), io.StringIO()
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(contextlib.redirect_stdout(self._out))
        self._stack.enter_context(contextlib.redirect_stderr(self._err))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def out(self) -> str:
        return self._out.getvalue()

    @property
    def err(self) -> str:
        return self._err.getvalue()


def drop_connection(world: World, name: str) -> None:
    """Take a connection away."""
    world.patch.delenv(f"AIRFLOW_CONN_{name}")


def set_connection(world: World, name: str, **changes: object) -> None:
    """Change parts of a connection."""
    raw = json.loads(os.environ[f"AIRFLOW_CONN_{name}"])
    world.patch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(raw | changes))


def remove_below(folder: Path) -> None:
    """Empty a directory."""
    for path in folder.iterdir() if folder.exists() else ():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """Wait until ``condition`` is true and return what it gave."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.05)
    return found


def dead_children() -> set[psutil.Process]:
    """Return the children of this process that have ended and that nobody has waited for."""
    return {child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE}


def has_ended(process: psutil.Process) -> bool:
    """Say whether a process runs no more. One whose parent reaps nobody stays as a zombie for ever."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def in_threads(*works: Callable[[], Any]) -> list[Any]:
    """Run all at once and return their results; the first exception is raised."""
    barrier = threading.Barrier(len(works))
    results: list[Any] = [None] * len(works)
    errors: list[BaseException] = []

    def one(number: int) -> None:
        try:
            barrier.wait(10)
            results[number] = works[number]()
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]
    return results
