"""A node's login shell may say what it likes: an answer is read as it is, and what is none is a fault, never a "no"."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesys_lib.db.schema import lis_node_repairs
from imagesys_lib.nodes import NodeFault, NodeSession
from imagesys_lib.nodes.commands import SCRIPT
from imagesys_lib.replication import node_records
from imagesys_lib.stages.check import check, scrub
from imagesys_lib.stages.repair.repair import repair
from imagesys_lib.stages.sync import sync
from include.sandbox import ManifestEntry
from include.sandbox.services.nodes import RESTRICTED
from tests.support.world import World

A = "0/1/2/" + "3" * 37
B = "0/1/3/" + "4" * 37
Entries = dict[str, ManifestEntry]


def on_both(scripts: Mapping[str, str]) -> list[Any]:
    """Each script on a plain node and on the one whose key runs one script alone; quick tests take them in turn."""
    return [
        pytest.param(script, node, id=f"{name}-{node}", marks=[pytest.mark.long] if (number + other) % 2 else [])
        for number, (name, script) in enumerate(scripts.items())
        for other, node in enumerate(("n1", RESTRICTED))
    ]


HARMLESS = {
    "before": "echo Welcome to n1; run",
    "before, without an end of line": "printf Welcome; run",
    "before, in bytes of no text": "printf 'a\\0\\377\\033[31m\\r\\n'; run",
    "long, before and after": "yes Welcome | head -c 500000; run; yes Bye | head -c 500000",
    "after": "run; echo Bye",
    "after, without an end of line": "printf yes; run; printf no",
    "before and after, to standard error": "echo Permission denied >&2; run; echo timed out >&2",
    "another exit code": "run; exit 3",
    "as old answers were": "echo no; echo imagesys-node 1; run; echo yes",
}
BROKEN = "d=$(mktemp -d); echo exit 1 >$d/{0}; chmod +x $d/{0}; PATH=$d:$PATH; run; rm -r $d"
HARMFUL = {
    "nothing but a banner": "echo Welcome to n1",
    "a banner that fails": "echo This account is not available; exit 1",
    "nothing": "exit 0",
    "a file cut short": "run | head -c 40",
    "its end cut off": "run | head -c -2",
    "something in its middle": """run | sed "s/\\(.*\\)/\\1 You have mail/" """,
    "something lost in its middle": "run | tr -d 12346789",
    "twice": "run >/tmp/answer.$$; cat /tmp/answer.$$ /tmp/answer.$$; rm /tmp/answer.$$",
    "a shell that talks for ever": "yes Welcome",
    "old answers": "echo no; echo yes",
    "what passes it on failing": BROKEN.format("tee"),
    "what counts it failing": BROKEN.format("wc"),
}


@contextlib.contextmanager
def shell(world: World, node: str, script: str, program: str = "") -> Iterator[None]:
    """Have ``script`` run at each login to a node: ``run`` in it is what the client has asked for.

    ``program`` is a shell that runs that itself, as a login shell does; if none is given, another one runs it.
    """
    keys = world.sandbox.nodes[node].directory / "authorized_keys"
    before = keys.read_text()
    plain = 'eval "$SSH_ORIGINAL_COMMAND"' if program else 'exec sh -c "$SSH_ORIGINAL_COMMAND"'
    reported = f"exec sh {SCRIPT} {world.root(node)}" if node == RESTRICTED else plain
    file = keys.with_name("login-shell")
    file.write_text(f"run() {{ ({reported}); }}\n{script}\n")
    command = f"{program or 'sh'} {shlex.quote(str(file))}"
    keys.write_text(f'command="{command}" {before[before.index("ssh-ed25519") :]}')
    try:
        yield
    finally:
        keys.write_text(before)


def ready(world: World, node: str) -> Path:
    """Return the file that a load balancer looks at, of a node that had it."""
    file = world.root(node) / ".imagesys" / "ready"
    file.parent.mkdir(exist_ok=True)
    file.touch()
    return file


@pytest.fixture
def filled(world: World) -> Callable[[str], Path]:
    def fill(node: str) -> Path:
        for name in (A, B):
            file = world.root(node) / "uk" / f"{name}.1.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(name)
        return world.root(node) / "uk"

    return fill


@pytest.mark.parametrize(("script", "node"), on_both(HARMLESS))
def test_what_a_shell_says_around_an_answer_does_no_harm(
    world: World, filled: Callable[[str], Path], node: str, script: str
) -> None:
    folder, name, both = filled(node), f"{A}.1.jpg", [f"{A}.1.jpg", f"{B}.1.jpg"]
    with shell(world, node, script), NodeSession(world.ctx.node(node)) as session:
        assert session.version() == "imagesys-node 6"
        assert session.clock() > 1e9
        assert session.prepare().free_inodes > 0
        assert session.space().free_bytes > 0
        identity = session.identity(make=True)
        assert session.identity() == identity
        with session.listing("uk") as listing:
            assert listing.read() == "".join(f"{path}\t{len(A)}\0" for path in both).encode()
        assert [entry.path for entry in session.stat("uk", [*both, f"{A}.2.jpg"])] == both
        assert sorted(session.sums("uk", both)) == both
        session.delete([f"uk/{name}"])
        assert [entry.path for entry in session.stat("uk", both)] == both[1:]
        assert not (folder / name).exists()
        with pytest.raises(NodeFault, match="refused") as caught:
            session._ask(str, "list", "uk", "0/1/2/3")
        assert caught.value.reason == "refused"


def listed(session: NodeSession) -> bytes:
    with session.listing("uk") as listing:
        return listing.read()


ASKED: dict[str, Callable[[NodeSession], object]] = {
    "version": lambda session: session.version(),
    "clock": lambda session: session.clock(),
    "prepare": lambda session: session.prepare(),
    "identity": lambda session: session.identity(),
    "behind": lambda session: session.set_behind("uk", False),
    "delete": lambda session: session.delete([f"uk/{A}.2.jpg"]),
    "stat": lambda session: session.stat("uk", [f"{A}.1.jpg"]),
    "sums": lambda session: session.sums("uk", [f"{A}.1.jpg"]),
    "list": listed,
}


@pytest.mark.parametrize(("script", "node"), on_both(HARMFUL))
def test_what_is_no_answer_is_a_fault_with_its_first_words(
    world: World, filled: Callable[[str], Path], node: str, script: str
) -> None:
    filled(node)
    with NodeSession(world.ctx.node(node)) as session:
        session.identity(make=True)
    file = ready(world, node)
    with shell(world, node, script), NodeSession(world.ctx.node(node)) as session:
        for verb, ask in ASKED.items():
            with pytest.raises(NodeFault) as caught:
                ask(session)
            assert caught.value.reason == "shell_output", (verb, caught.value)
            assert verb in caught.value.detail or "more than" in caught.value.detail
            assert len(caught.value.detail) < 300
            assert caught.value.detail.isprintable()
            if "Welcome" in script:
                assert "Welcome" in caught.value.detail or "more than" in caught.value.detail
    assert file.exists()


@pytest.mark.parametrize("node", ["n1", RESTRICTED])
@pytest.mark.parametrize("eats", ["read line", "head -c 20", "cat"])
def test_a_shell_that_reads_of_a_list_is_noticed(
    world: World, filled: Callable[[str], Path], node: str, eats: str
) -> None:
    folder = filled(node)
    with shell(world, node, f"{eats} >/dev/null 2>&1; run"), NodeSession(world.ctx.node(node)) as session:
        for ask in (session.sums, session.stat, lambda _, paths: session.delete([f"uk/{path}" for path in paths])):
            with pytest.raises(NodeFault, match=r"shell_output: .*login shell reads") as caught:
                ask("uk", [f"{A}.1.jpg", f"{B}.1.jpg"])
            assert caught.value.reason == "shell_output"
    assert (folder / f"{A}.1.jpg").exists()
    assert (folder / f"{B}.1.jpg").exists()


@pytest.mark.parametrize("node", ["n1", RESTRICTED])
@pytest.mark.parametrize("script", ["echo Welcome to n1; run", "printf Welcome; run"], ids=["line", "no line"])
def test_a_banner_that_breaks_rsync_is_named(world: World, tmp_path: Path, node: str, script: str) -> None:
    file = tmp_path / "uk" / f"{A}.1.jpg"
    file.parent.mkdir(parents=True)
    file.touch()
    with shell(world, node, script), NodeSession(world.ctx.node(node)) as session:
        session.prepare()
        for transfer in (session.push, session.pull):
            with pytest.raises(NodeFault, match="Welcome") as caught:
                transfer(*((tmp_path, [f"uk/{A}.1.jpg"])[:: 1 if transfer == session.push else -1]))
            assert caught.value.reason == "shell_output"


@pytest.mark.parametrize("script", ["echo Welcome", "echo Welcome; run", "printf Welcome; run", "run; echo Bye"])
def test_a_healthy_node_with_a_banner_is_not_emptied_and_stays_ready(world: World, live: Entries, script: str) -> None:
    file = ready(world, "n1")
    asks = "run" in script
    with shell(world, "n1", script):
        for work in (sync, check, scrub):
            with contextlib.nullcontext() if asks else pytest.raises(NodeFault, match="shell_output"):
                work(world.ctx, "n1")
            assert file.exists()
    assert ("Welcome" in node_records.sync_fault(world.ctx.db, "n1")) is not asks
    assert world.rows(sa.select(lis_node_repairs)) == []


SET = {
    "options": "set -eux -o noclobber; run",
    "separators": "IFS=,0123456789; run",
    "aliases": "shopt -s expand_aliases; alias printf=echo stat='stat -x' rm='rm -i'; run",
    "functions": 'for f in printf find stat rm tee wc cat; do eval "$f() { echo no; }"; export -f $f; done; run',
    "folder and umask": "cd /; umask 077; run",
    "a path of folders": "export CDPATH=.:/; run",
    "a path of folders that have the same": 'd=$(mktemp -d); mkdir "$d/uk"; export CDPATH=$d; run; rm -r "$d"',
    "locale": "export LC_ALL=tr_TR.UTF-8 LANGUAGE=de; run",
    "the tools' variables": "export POSIXLY_CORRECT=1 QUOTING_STYLE=c BLOCK_SIZE=1 TMPDIR=/nowhere; run",
    "descriptors": "exec 3>/dev/null 4>&1 5>/dev/null 6>&1; run",
}


@pytest.mark.parametrize(("script", "node"), on_both(SET))
def test_what_a_shell_sets_changes_no_answer(
    world: World, filled: Callable[[str], Path], tmp_path: Path, node: str, script: str
) -> None:
    folder, name, both = filled(node), f"{A}.1.jpg", [f"{A}.1.jpg", f"{B}.1.jpg"]
    with shell(world, node, script, "bash"), NodeSession(world.ctx.node(node)) as session:
        assert session.prepare().free_inodes > 0
        identity = session.identity(make=True)
        assert session.identity() == identity
        session.set_behind("fr", True)
        assert session.marks() == ["fr"]
        assert listed(session) == "".join(f"{path}\t{len(A)}\0" for path in both).encode()
        assert [entry.path for entry in session.stat("uk", [*both, f"{A}.2.jpg"])] == both
        assert sorted(session.sums("uk", both)) == both
        session.pull([f"uk/{name}"], tmp_path)
        session.delete([f"uk/{name}"])
        assert not (folder / name).exists()
        session.push(tmp_path, [f"uk/{name}"])
        assert (folder / name).read_text() == A
        assert (folder / name).stat().st_mode & 0o777 == 0o644


POWERLESS = '[ "${less-}" ] || less=1 exec setpriv --bounding-set=-dac_override,-dac_read_search sh "$0"; run'


@pytest.mark.parametrize("node", ["n1", RESTRICTED])
@pytest.mark.parametrize("place", ["uk", "uk/0", "uk/0/1", ".imagesys"])
def test_a_folder_that_cannot_be_read_is_not_gone(
    world: World, filled: Callable[[str], Path], node: str, place: str
) -> None:
    filled(node)
    with shell(world, node, POWERLESS), NodeSession(world.ctx.node(node)) as session:
        identity = session.identity(make=True)
        file = ready(world, node)
        (world.root(node) / place).chmod(0)
        try:
            asks = (listed, ASKED["stat"]) if place != ".imagesys" else (ASKED["identity"], ASKED["behind"])
            for ask in asks:
                with pytest.raises(NodeFault, match=r"[Pp]ermission denied|can't cd") as caught:
                    ask(session)
                assert caught.value.reason == "transfer"
        finally:
            (world.root(node) / place).chmod(0o755)
        assert file.exists()
        assert session.identity() == identity


def test_messages_without_end_are_given_up_before_they_fill_the_disk(world: World) -> None:
    with shell(world, "n1", "yes Welcome >&2"), NodeSession(world.ctx.node("n1")) as session:
        for ask in (session.prepare, lambda: listed(session), lambda: session.pull([f"uk/{A}.1.jpg"], world.staging)):
            with pytest.raises(NodeFault, match="more than") as caught:
                ask()
            assert caught.value.reason == "shell_output"


@pytest.mark.parametrize("script", ["echo Welcome", "exit 0"])
def test_peers_that_answer_nonsense_have_nothing_made_again(world: World, live: Entries, script: str) -> None:
    path = min(world.tree("n1"))
    (world.root("n1") / path).unlink()
    check(world.ctx, "n1")
    with shell(world, "n2", script), shell(world, "n3", script):
        repaired = repair(world.ctx, "n1")
    assert (repaired.restored, repaired.requeued, repaired.waiting) == (0, 0, 1)
    assert world.count() == {"live": 40}
    assert repair(world.ctx, "n1").restored == 1
