"""python -m include.sandbox start|stop|status|env, from the project's root."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

from include.sandbox import EXAMPLE_SERVICES, SERVICES, Sandbox, SandboxError, SandboxSettings

_ALL = (*SERVICES, *EXAMPLE_SERVICES)
EXIT_STOPPED = 1
EXIT_ENVIRONMENT = 3


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        sandbox = Sandbox(SandboxSettings.from_environment(options.base, options.port_base))
        return int(options.command(sandbox, options))
    except SandboxError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return EXIT_ENVIRONMENT
    except KeyboardInterrupt:
        return 130


def start(sandbox: Sandbox, options: argparse.Namespace) -> int:
    services = options.service or SERVICES
    sandbox.start(
        options.images,
        country=options.country,
        time_zone=options.time_zone,
        services=services,
        progress=_show_progress,
        say=print,
    )
    return 0


def stop(sandbox: Sandbox, options: argparse.Namespace) -> int:
    if not options.service:
        sandbox.airflow.stop(say=print)
    sandbox.stop(options.service or _ALL, say=print)
    return 0


def status(sandbox: Sandbox, options: argparse.Namespace) -> int:
    rows = sandbox.status()
    if options.json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
    else:
        for row in rows:
            print(f"{row.service:8}  {'running' if row.running else 'DOWN':8} {row.detail}")
    return 0 if all(row.running for row in rows) else EXIT_STOPPED


def env(sandbox: Sandbox, options: argparse.Namespace) -> int:
    values = sandbox.airflow.environment()
    del values["PYTHONSAFEPATH"]  # the shell that takes these also calls `python -m include.sandbox` and make
    if options.json:
        print(json.dumps(values, indent=2))
    else:
        for name, value in values.items():
            print(f"export {name}={shlex.quote(value)}")
    return 0


def _show_progress(done: int, total: int) -> None:
    if sys.stdout.isatty():
        print(f"\rphotos {done}/{total}", end="\n" if done == total else "", flush=True)
    elif done == total:
        print(f"photos {done}/{total}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m include.sandbox", description=__doc__)
    parser.add_argument("--base", type=Path, help="directory of the sandbox (default: .local/sandbox)")
    parser.add_argument(
        "--port-base", type=int, help="first port (default: DEMO_PORT_BASE, the last one used, or 18300)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    starting = commands.add_parser("start", help="start all services, or those named")
    starting.add_argument("service", nargs="*", choices=[*_ALL, []], metavar="SERVICE", help=", ".join(_ALL))
    starting.add_argument(
        "--images", type=int, default=0, help="seed so many photos (default: leave the tables as they are)"
    )
    starting.add_argument("--country", default="uk", help="whose table to seed (default: uk)")
    starting.add_argument("--time-zone", default="Europe/London", help="of that country (default: Europe/London)")
    starting.set_defaults(command=start)

    stopping = commands.add_parser("stop", help="stop Airflow and all services, or those named, and nothing else")
    stopping.add_argument("service", nargs="*", choices=[*_ALL, []], metavar="SERVICE", help=", ".join(_ALL))
    stopping.set_defaults(command=stop)

    for name, command, text in (
        ("status", status, "what runs; exit code 1 when a service is down"),
        ("env", env, 'settings and connections as shell exports: eval "$(python -m include.sandbox env)"'),
    ):
        sub = commands.add_parser(name, help=text)
        sub.add_argument("--json", action="store_true")
        sub.set_defaults(command=command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
