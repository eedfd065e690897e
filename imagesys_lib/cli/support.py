"""What every command shares: a country's context, progress, SIGTERM, errors and exit codes."""

from __future__ import annotations

import dataclasses
import io
import json
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text
from typer._click.exceptions import ClickException  # not public: typer has its own copy of click

from imagesys_lib.config import load_config, refusing_broken
from imagesys_lib.context import Context, open_context
from imagesys_lib.errors import EXIT_DONE, EXIT_WORK_LOST, ImageSysError, Stopped, UsageError
from imagesys_lib.nodes import NodeFault
from imagesys_lib.output import logs
from imagesys_lib.output.printable import printable


class _Plain(Console):
    """A console on which text is text: nothing in it is markup, an emoji's name or a control character."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """All strings that are printed, those in the cells of a table too, come through here."""
        return super().render_str(printable(text, lines=True), **options)


out, err = _Plain(), _Plain(stderr=True)


def _known_countries() -> list[str]:
    """Return the countries for the shell's completion."""
    with suppress(ImageSysError):
        return list(load_config())
    return []


Country = Annotated[
    str, typer.Argument(help="Country code, such as uk.", metavar="COUNTRY", autocompletion=_known_countries)
]
Countries = Annotated[
    str | None,
    typer.Argument(help="One country; all if not given.", metavar="COUNTRY", autocompletion=_known_countries),
]
NodeOption = Annotated[str | None, typer.Option("--node", help="One node; all if not given.")]
IntervalOption = Annotated[
    str | None,
    typer.Option("--interval", help="A/B (ISO instants) or one local day; the latest complete day if not given."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say each step in plain words.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and do nothing.")]


def countries(country: str | None) -> list[str]:
    """Return the country asked for, or all that are configured."""
    return [country] if country else list(load_config())


@contextmanager
def country_context(country: str, label: str, *, verbose: bool = False, json_output: bool = False) -> Iterator[Context]:
    """Open a country for one command: progress on a terminal, plain lines elsewhere, SIGTERM gives leases back."""
    logs.configure(label, verbose=verbose, quiet=json_output)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with _progress(f"{country} {label}", shown=not json_output) as update:
        ctx = open_context(country, stop=stop, progress=update)
        try:
            yield ctx
        finally:
            ctx.close()


def country_contexts(
    country: str | None, label: str, *, verbose: bool = False, json_output: bool = False
) -> Iterator[Context]:
    """Open the country asked for, or one after the other all that are configured."""
    for name in countries(country):
        with country_context(name, label, verbose=verbose, json_output=json_output) as ctx:
            yield ctx


@dataclasses.dataclass
class Results:
    """What a command has done for several countries or nodes. What fails for one holds up no other."""

    shown: dict[str, Any] = dataclasses.field(default_factory=dict)
    code: int = EXIT_DONE

    def add(self, name: str, work: Callable[[], Any], faults: type[ImageSysError] = NodeFault) -> bool:
        """Do the work and keep its result or its fault. Returns whether it came to an end.

        A result with ``ok`` false makes the command end with 1.
        """
        try:
            result = plain(work())
        except faults as fault:
            self.shown[name] = {"ok": False, "fault": str(fault)}
            self.code = max(self.code, fault.exit_code)
            return False
        self.shown[name] = result
        self.code = max(self.code, EXIT_DONE if result.get("ok", True) else EXIT_WORK_LOST)
        return True

    def conclude(self, json_output: bool) -> None:
        """Show all results and end with the worst of their exit codes."""
        show(self.shown, json_output)
        raise typer.Exit(self.code)


@contextmanager
def _progress(label: str, *, shown: bool) -> Iterator[Callable[[int, int], None]]:
    if not shown or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=max(done, total))


def guarded(app: typer.Typer) -> None:
    """Run the command line and turn errors into one clear message and the documented exit code."""
    try:
        _check_arguments(sys.argv[1:])
        with refusing_broken():
            sys.exit(app(standalone_mode=False))
    except ImageSysError as error:
        err.print(str(error), style="red")
        sys.exit(error.exit_code)
    except Stopped:
        err.print("Stopped; what was held has been given back.")
        sys.exit(EXIT_WORK_LOST)
    except ClickException as error:  # a wrong call; click would show the words of the call as they are
        words = io.StringIO()
        error.show(words)
        err.print(words.getvalue(), end="")
        sys.exit(error.exit_code)
    except Exception:  # noqa: BLE001 - a fault of ours, whose words may be a stranger's
        err.print(traceback.format_exc(), end="")
        sys.exit(EXIT_WORK_LOST)


def _check_arguments(arguments: Sequence[str]) -> None:
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"An argument is not UTF-8: {argument!r}.", remedy="give it in UTF-8; URLs are kept as UTF-8 text."
            ) from None


def plain(value: Any) -> Any:
    """Return a result as JSON can hold it."""
    return json.loads(json.dumps(value, default=lambda one: vars(one) if dataclasses.is_dataclass(one) else str(one)))


def show(value: Any, json_output: bool) -> None:
    """Print a stage's result: JSON, or one ``name: value`` line each."""
    shown = plain(value)
    if json_output:
        sys.stdout.write(json.dumps(shown) + "\n")
    elif isinstance(shown, dict):
        for name, item in shown.items():
            out.print(f"{name.replace('_', ' ')}: {item}")
    else:
        out.print(str(shown))
