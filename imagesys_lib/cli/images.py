"""Commands about single images: explain, hash, path and classify."""

from __future__ import annotations

import getpass
import sys
from typing import Annotated

import typer
from rich.table import Table

from imagesys_lib.cli.support import Countries, Country, DryRun, Json, countries, country_context, err, out, show
from imagesys_lib.errors import EXIT_WORK_LOST, EnvironmentFault, UsageError
from imagesys_lib.images.hash_and_path import lis_hash_for_url, lis_path_for_hash
from imagesys_lib.ops.classify import classify as classify_images
from imagesys_lib.ops.explain import Explanation, hashes_for
from imagesys_lib.ops.explain import explain as explain_image
from imagesys_lib.ops.explain.screen import MOST_LINES, several
from imagesys_lib.output.printable import printable


def explain(
    what: Annotated[str, typer.Argument(help="A URL, an image hash or a listing id.", metavar="URL|HASH|LISTING")],
    country: Countries = None,
    nodes: Annotated[bool, typer.Option("--nodes/--no-nodes", help="Look at the files on each node.")] = True,
    json_output: Json = False,
) -> None:
    """Say everything known of an image or a listing: why is it not live, why is it not on a node?

    Example: imagesys explain http://photos.example.com/1.jpg uk
    """
    found: list[Explanation] = []
    for name in countries(country):
        try:
            with country_context(name, "explain", json_output=True) as ctx:
                found += explain_image(ctx, hashes_for(ctx, what), ask_nodes=nodes)
        except EnvironmentFault as fault:
            if country:
                raise
            err.print(f"{name}: {fault}")  # the other countries can still answer
    if not found:
        raise UsageError(
            f"Nothing is known of {what!r} in {', '.join(countries(country))}.",
            remedy="check the spelling; a URL counts byte by byte, and is known only after ingest.",
        )
    if json_output:
        show(found, True)
    elif len(found) == 1:
        out.print(_all_of(found[0]))
    else:
        out.print("\n".join(several(found, out.width, out.height if out.is_terminal else MOST_LINES)))


def _all_of(image: Explanation) -> Table:
    table = Table(title=f"{image.country.upper()}: {image.verdict}", show_header=False, title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")  # else a long URL would be cut
    for name, text in image.facts:
        table.add_row(name, printable(text))
    return table


def hash_(url: Annotated[str, typer.Argument(help="An image URL, byte by byte as the ETL has it.")]) -> None:
    """Print the hash of a URL.

    Example: imagesys hash http://photos.example.com/1.jpg
    """
    typer.echo(lis_hash_for_url(url))


def path(image_hash: Annotated[str, typer.Argument(help="An image hash.", metavar="HASH")]) -> None:
    """Print the path of a hash, below <root>/<country> and without .<n>.jpg.

    Example: imagesys path 0917c1f0b2a6c6d6e5f4a3b2c1d0e9f8a7b6c5d4
    """
    try:
        typer.echo(lis_path_for_hash(image_hash))
    except ValueError as error:
        raise UsageError(str(error)) from error


def classify(
    country: Country,
    hashes: Annotated[list[str], typer.Argument(help="Images; - reads hashes from standard input.", metavar="HASH...")],
    image_class: Annotated[
        str | None, typer.Option("--as", help="What they show, such as kitchen.", metavar="CLASS")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take a person's word back.")] = False,
    dry_run: DryRun = False,
    json_output: Json = False,
) -> None:
    """Record what a person has seen on images. It holds, whatever is made of them, until it is taken back.

    Example: imagesys classify uk --as kitchen 0917c1f0b2a6c6d6e5f4a3b2c1d0e9f8a7b6c5d4
    """
    if (image_class is None) is not undo:
        raise UsageError("Give one of --as and --undo.")
    wanted = [one for given in hashes for one in (sys.stdin.read().split() if given == "-" else [given])]
    with country_context(country, "classify", json_output=json_output) as ctx:
        by = f"by hand: {getpass.getuser()}"
        result = classify_images(ctx, wanted, image_class, by=by, dry_run=dry_run)
    for image_hash in result.unknown:
        err.print(f"{country}: no image {printable(image_hash)}; see `imagesys explain`.")
    show(result, json_output)
    if not result.ok:
        raise typer.Exit(EXIT_WORK_LOST)
