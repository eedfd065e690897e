"""Transfers: a key reaches thumbnails and nothing else, and whoever serves visitors is not disturbed."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from imagesys_lib.nodes import NodeFault, NodeSession
from imagesys_lib.stages.sync import sync
from include.sandbox.services.nodes import RESTRICTED
from tests.library.nodes.test_node_faults import receivers
from tests.library.replication.test_sync import made
from tests.support.world import World, wait_for

A = "0/1/2/" + "3" * 37
THUMBNAILS = [f"{place}/{A}.{end}" for place in ("uk", "canary/uk") for end in ("1.jpg", "9.webp", "2.avif")]
OTHERS = [
    ".ssh/authorized_keys",
    ".htaccess",
    "index.html",
    ".imagesys/ready",
    ".imagesys/behind/uk",
    ".imagesys/identity",
    ".imagesys/tmp/x",
    "uk/.htaccess",
    "uk/x.php",
    "uk/0/1/2/x.php",
    f"uk/{A}.1.php",
    f"uk/{A}.0.jpg",
    f"uk/{A}.10.jpg",
    f"uk/{A}.1.jpg.php",
    f"uk/{A}.1.jpg/x",
    f"uk/{A[:-1]}g.1.jpg",
    f"uk/{A}3.1.jpg",
    f"uk/0/1/{'3' * 37}.1.jpg",
    f"UK/{A}.1.jpg",
    f"ukx/{A}.1.jpg",
    f"canary/{A}.1.jpg",
    f"canary/canary/uk/{A}.1.jpg",
    f"{A}.1.jpg",
]


@pytest.fixture
def node(world: World) -> Iterator[NodeSession]:
    """A connection to the node whose key may run the forced command alone."""
    with NodeSession(world.ctx.node(RESTRICTED)) as session:
        session.prepare()
        yield session


def staged(folder: Path, path: str) -> Path:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(path)
    return file


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_thumbnails_come_and_go(world: World, node: NodeSession, tmp_path: Path) -> None:
    for path in THUMBNAILS:
        staged(tmp_path / "out", path)
    node.push(tmp_path / "out", THUMBNAILS)
    root, back = world.root(RESTRICTED), tmp_path / "back"
    assert set(files(root)) == set(THUMBNAILS)
    assert {(root / path).stat().st_mode & 0o777 for path in THUMBNAILS} == {0o644}
    assert {path.stat().st_mode & 0o777 for path in (root / "uk").rglob("*") if path.is_dir()} == {0o755}
    back.mkdir()
    node.pull(THUMBNAILS, back)
    assert {path: (back / path).read_text() for path in files(back)} == {path: path for path in THUMBNAILS}


@pytest.mark.parametrize("path", OTHERS)
def test_nothing_else_is_written_or_read(world: World, node: NodeSession, tmp_path: Path, path: str) -> None:
    root = world.root(RESTRICTED)
    staged(tmp_path / "out", path)
    before = files(root)
    with pytest.raises(NodeFault) as caught:
        node.push(tmp_path / "out", [path])
    assert caught.value.reason == "transfer"
    assert files(root) == before

    staged(root, path)
    back = tmp_path / "back"
    back.mkdir()
    with contextlib.suppress(NodeFault):
        node.pull([path], back)
    assert files(back) == []


def test_a_file_outside_of_the_folder_is_neither_written_nor_read(
    world: World, node: NodeSession, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "back").mkdir()
    outside = world.root(RESTRICTED).parent
    before = files(outside)
    for path in ("../authorized_keys", "/etc/hostname", f"../../uk/{A}.1.jpg", f"uk/../../{A}.1.jpg"):
        staged(tmp_path, "authorized_keys")
        with contextlib.suppress(NodeFault):
            node.push(tmp_path / "out", [path])
        with contextlib.suppress(NodeFault):
            node.pull([path], tmp_path / "back")
    assert files(outside) == before
    assert files(tmp_path / "back") == []


@pytest.mark.parametrize(
    "option",
    ["--links", "--hard-links", "--devices", "--specials", "--keep-dirlinks", "--delete", "--inplace", "--append"],
)
def test_no_option_of_the_clients_makes_it_do_more(
    world: World, node: NodeSession, tmp_path: Path, option: str
) -> None:
    root, path = world.root(RESTRICTED), f"uk/{A}.1.jpg"
    out = tmp_path / "out" / path
    out.parent.mkdir(parents=True)
    out.symlink_to("/etc/passwd")
    kept = staged(root, f"uk/0/1/2/{'4' * 37}.1.jpg")
    more = ["--dirs"] if option == "--delete" else []
    with pytest.raises(NodeFault):
        node._rsync([f"{tmp_path}/out/", f"{RESTRICTED}::imagesys/"], [path], [option, *more], 0)
    assert files(root) == [str(kept.relative_to(root))]


def longs(text: str) -> list[list[str]]:
    return [[option] for option in text.split()]


OPTIONS: list[list[str]] = [
    ["--backup", "--suffix=.php"],
    ["-b", "--suffix=.php"],
    ["--backup", "--backup-dir=uk"],
    *longs("--partial --partial-dir=uk --delay-updates --compare-dest=/uk --copy-dest=/uk --link-dest=/uk"),
    *longs("--force --mkpath --inplace --existing --ignore-existing --update --fuzzy"),
    *longs("--perms --executability --acls --xattrs --owner --group --devices --specials --links --hard-links"),
    *longs("--super --chown=nobody --usermap=*:nobody --keep-dirlinks --sparse"),
    *longs("--remove-source-files --prune-empty-dirs --omit-dir-times --size-only --checksum --compress -a -zz"),
    *longs("--max-delete=5 --max-size=5 --preallocate --fsync --numeric-ids --recursive"),
    *longs("--delete --del --delete-before --delete-during --delete-delay --delete-after --delete-excluded"),
    *longs("--delete-missing-args --ignore-errors"),
    ["--whole-file", "-lp"],
    *(
        ["--remote-option", option]
        for option in ("-l", "-tl", "--force", "--fake-super", "--append", "--del", "--log-file=/tmp/x")
    ),
    ["--remote-option", "--files-from=:.imagesys/identity"],
    ["--remote-option", "--temp-dir=.ssh"],
    ["--remote-option", "--exclude-from=/etc/passwd"],
]
"""None of them is one that ImageSys gives. rsync needs a second to refuse each: every third is quick enough."""


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=" ".join(options), marks=[pytest.mark.long] if number % 3 else [])
        for number, options in enumerate(OPTIONS)
    ],
)
def test_no_option_of_the_clients_puts_a_file_where_or_as_it_likes(
    world: World, node: NodeSession, tmp_path: Path, options: list[str]
) -> None:
    root, path = world.root(RESTRICTED), f"uk/{A}.1.jpg"
    staged(root, path).write_text("before")
    staged(tmp_path / "out", path)
    more = ["--dirs"] if "del" in options[0] else []
    with pytest.raises(NodeFault, match=r"refuse|reject|not supported"):
        node._rsync([f"{tmp_path}/out/", f"{RESTRICTED}::imagesys/"], [path], ["--ignore-times", *options, *more], 0)
    assert files(root) == [path]
    assert (root / path).read_text() == "before"


def test_a_log_file_of_the_clients_choice_is_not_written(node: NodeSession, tmp_path: Path) -> None:
    staged(tmp_path / "out", f"uk/{A}.1.jpg")
    log = tmp_path / "log"
    with contextlib.suppress(NodeFault):
        ends = [f"{tmp_path}/out/", f"{RESTRICTED}::imagesys/"]
        node._rsync(ends, [f"uk/{A}.1.jpg"], [f"--remote-option=--log-file={log}"], 0)
    assert not log.exists()


@pytest.mark.parametrize("option", ["--copy-links", "--copy-unsafe-links"])
def test_a_link_among_the_thumbnails_gives_nothing_away(
    world: World, node: NodeSession, tmp_path: Path, option: str
) -> None:
    secret = staged(tmp_path, "secret")
    link = world.root(RESTRICTED) / "uk" / f"{A}.1.jpg"
    link.parent.mkdir(parents=True)
    link.symlink_to(secret)
    back = tmp_path / "back"
    back.mkdir()
    for options in ([], [option]):
        with contextlib.suppress(NodeFault):
            node._rsync([f"{RESTRICTED}::imagesys/", f"{back}/"], [f"uk/{A}.1.jpg"], options, 0)
    assert files(back) == []


# What a transfer costs others


def test_transfers_yield_to_all_else_on_both_sides(world: World) -> None:
    made(world, 30)
    world.configure(transfer={"bandwidth_kbps": 40})
    child = world.spawn("sync", "uk", "--node", "n1")
    remote = wait_for(lambda: len(world.tree("n1")) > 2 and receivers(world, "n1"), "a transfer under way")
    local = [process for process in psutil.Process(child.pid).children(recursive=True) if process.name() == "rsync"]
    assert local
    for process in (*remote, *local):
        assert process.nice() == 10
        if shutil.which("ionice"):
            assert process.ionice().ioclass == psutil.IOPRIO_CLASS_IDLE
    child.terminate()
    child.wait(20)


def test_a_limit_of_the_bandwidth_is_kept(world: World) -> None:
    paths = made(world, 30)
    size = sum((world.staging / "out" / path).stat().st_size for path in paths)
    kbps = max(1, round(size / 1024 / 4))  # four seconds
    ctx = world.reconfigure(transfer={"bandwidth_kbps": kbps})
    began = time.monotonic()
    assert sync(ctx, "n1").pushed == len(paths)
    assert time.monotonic() - began > 0.7 * size / 1024 / kbps


def test_all_groups_of_a_sync_go_over_one_connection(world: World) -> None:
    made(world, 20)
    log = world.sandbox.settings.log_dir / "n1.log"
    ctx = world.reconfigure(transfer={"group_images": 4})
    before = log.stat().st_size
    assert sync(ctx, "n1").pushed == 40
    with log.open("rb") as file:
        file.seek(before)
        said = file.read().decode("utf-8", "replace")
    assert said.count("Accepted publickey") == 1, said
