"""The forced command of a node's key: it does what ImageSys asks for, and nothing else, whatever a client says."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from imagesys_lib.nodes import NodeFault, NodeSession, question
from imagesys_lib.nodes.commands import SCRIPT, as_list, rsync_program
from include.sandbox.services.nodes import RESTRICTED
from tests.support.world import World

A = "0/1/2/" + "3" * 37
B = "0/1/3/" + "4" * 37
# As rsync asks for itself where there is no daemon: the script wants no other words than the daemon's.
PUSH = "rsync --server -WtIRe.LsfxCIvu --timeout=120 --bwlimit=500 --temp-dir .imagesys/tmp . ."
PULL = "rsync --server --sender -WtRe.LsfxCIvu --timeout=120 --ignore-missing-args --files-from=- --from0 . ."


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name in (A, B):
        (root / "uk" / name).parent.mkdir(parents=True)
        (root / "uk" / f"{name}.1.jpg").write_text(name)
    (tmp_path / "secret").write_text("secret")
    return root


def asked(root: Path, said: str, data: str = "") -> subprocess.CompletedProcess[str]:
    """Do as sshd does: run the forced command, with what the client said in the environment."""
    return subprocess.run(
        ["sh", SCRIPT, root],
        input=data,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PATH": os.environ["PATH"], "SSH_ORIGINAL_COMMAND": said},
    )


def state(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".imagesys" not in path.parts
    }


@pytest.mark.parametrize(
    "said",
    [
        "",
        "id",
        "sh",
        "sh -c id",
        "scp -t /etc",
        "/usr/lib/openssh/sftp-server",
        "imagesys-node",
        "imagesys-node ",
        "imagesys-node sh",
        "imagesys-node version; id",
        "imagesys-node version && id",
        "imagesys-node list uk | sh",
        "imagesys-node list $(id)",
        "imagesys-node list `id`",
        "imagesys-node list ..",
        "imagesys-node list .imagesys",
        "imagesys-node list uk ..",
        "imagesys-node list uk ../../etc",
        "imagesys-node list uk /etc",
        "imagesys-node list uk 0 -delete",
        "imagesys-node list uk *",
        "imagesys-node list -L",
        "imagesys-node list canary",
        "imagesys-node list canary/",
        "imagesys-node list canary/..",
        "imagesys-node list canary/../uk",
        "imagesys-node list canary/uk/0",
        "imagesys-node list canary/uk ..",
        "imagesys-node list ./canary/uk",
        "imagesys-node list xcanary/uk",
        "imagesys-node delete canary",
        "imagesys-node delete canary/uk/..",
        "imagesys-node sums canary/UK",
        "imagesys-node behind canary/uk yes",
        "imagesys-node behind .. yes",
        "imagesys-node behind uk ../x",
        "imagesys-node refuse x",
        "imagesys-node main /",
        "imagesys-node rsync",
        "imagesys-node rsync --daemon",
        "imagesys-node rsync --server",
        "imagesys-node rsync --server --daemon",
        "imagesys-node rsync --server --daemon ..",
        "imagesys-node rsync --server --daemon . .",
        "imagesys-node rsync --server --daemon --config=/tmp/x .",
        "imagesys-node identity ../x",
        "imagesys-node identity $(id)",
        "imagesys-node identity UK uk",
        f"imagesys-node {PUSH}",
        f"imagesys-node {PULL}",
        f"imagesys-node {PUSH[:-1]}/etc",
        f"imagesys-node {PUSH[:-1]}..",
        f"imagesys-node {PUSH} .",
        f"imagesys-node {PUSH} --delete",
        f"imagesys-node {PUSH} --log-file=/tmp/x",
        f"imagesys-node {PUSH} --write-devices",
        f"imagesys-node {PUSH} --files-from=/etc/passwd",
        f"imagesys-node {PUSH} --partial",
        f"imagesys-node {PUSH} -l",
        f"imagesys-node {PUSH} -e.x",
        f"imagesys-node {PUSH.replace('--temp-dir .imagesys/tmp ', '')}",
        f"imagesys-node {PUSH.replace('.imagesys/tmp', '/tmp')}",
        f"imagesys-node {PUSH.replace('-WtIR', '-WtIRl')}",
        f"imagesys-node {PUSH.replace('-WtIR', '-WtIRD')}",
        f"imagesys-node {PUSH.replace('-WtIR', '-WtIRs')}",
        f"imagesys-node {PUSH.replace('-WtIR', '-WtIRK')}",
        f"imagesys-node {PUSH.replace('--timeout=120', '--timeout=$(id)')}",
        f"imagesys-node {PULL.replace('-WtR', '-WtRL')}",
        f"imagesys-node {PULL.replace('-WtR', '-WtRk')}",
        f"imagesys-node {PULL[:-1]}/etc",
        f"imagesys-node {PULL} --remove-source-files",
    ],
)
def test_all_else_is_refused(root: Path, tmp_path: Path, said: str) -> None:
    before = state(tmp_path)
    done = asked(root, said, f"{A}.1.jpg\n")
    assert (done.returncode, done.stdout) == (77, ""), done
    assert "imagesys-node: refused: " in done.stderr
    assert state(tmp_path) == before


@pytest.mark.parametrize("country", ["uk", "canary/uk"])
@pytest.mark.parametrize("verb", ["delete", "stat", "sums"])
@pytest.mark.parametrize(
    "path",
    [
        "../../secret",
        "/etc/passwd",
        "../uk/" + A + ".1.jpg",
        "../../uk/" + A + ".1.jpg",
        A,
        f"{A}.1.jpg/..",
        f"{A}.0.jpg",
        f"{A}.1.php",
        f"{A.upper()}.1.JPG",
        A.replace("3", "z", 1) + ".1.jpg",
        "-rf",
        "",
        f"{A}.1.jpg\0{B}.1.jpg",
    ],
)
def test_no_other_file_is_touched_or_named(root: Path, tmp_path: Path, country: str, verb: str, path: str) -> None:
    shutil.copytree(root / "uk", root / "canary" / "uk")
    before = state(tmp_path)
    done = asked(root, f"imagesys-node {verb} {country}", path + "\n")
    if "\0" in path:  # a shell drops zero bytes, and what is left is no name
        assert done.returncode in (0, 77)
    else:
        assert (done.returncode, done.stdout) == (77, "")
    assert state(tmp_path) == before


@pytest.mark.parametrize("verb", ["delete", "stat", "sums"])
@pytest.mark.parametrize("place", ["uk", "uk/0", "uk/0/1", "uk/0/1/2", "canary", "canary/uk", "canary/uk/0"])
def test_a_link_in_the_place_of_a_folder_is_not_followed(root: Path, tmp_path: Path, verb: str, place: str) -> None:
    country = "canary/uk" if place.startswith("canary") else "uk"
    if country != "uk":
        shutil.copytree(root / "uk", root / country)
    elsewhere = tmp_path / "elsewhere"
    (root / place).rename(elsewhere)
    (root / place).symlink_to(elsewhere)
    before = state(elsewhere)
    done = asked(root, f"imagesys-node {verb} {country}", f"{A}.1.jpg\n")
    assert (done.returncode, done.stdout) == (77, ""), done
    assert "link" in done.stderr
    assert state(elsewhere) == before
    assert A not in asked(root, f"imagesys-node list {country}").stdout


def test_it_lists_counts_and_deletes(root: Path) -> None:
    size = len(A)
    assert asked(root, "imagesys-node list uk").stdout == f"{A}.1.jpg\t{size}\0{B}.1.jpg\t{size}\0"
    assert asked(root, "imagesys-node list uk 0/1/3").stdout == f"{B}.1.jpg\t{size}\0"
    assert asked(root, "imagesys-node list uk f").stdout == ""
    assert asked(root, "imagesys-node list de").stdout == ""
    both = f"{A}.1.jpg\n{A}.2.jpg\n{B}.1.jpg\n"
    assert [line.split("\t")[:2] for line in asked(root, "imagesys-node stat uk", both).stdout.splitlines()] == [
        [f"{A}.1.jpg", str(size)],
        [f"{B}.1.jpg", str(size)],
    ]
    sums = asked(root, "imagesys-node sums uk", both).stdout.splitlines()
    assert [line.partition("  ")[2] for line in sums] == [f"{A}.1.jpg", f"{B}.1.jpg"]
    assert asked(root, "imagesys-node delete uk", f"{A}.1.jpg\n{A}.2.jpg\n").returncode == 0
    assert list(state(root)) == [f"uk/{B}.1.jpg"]


def test_a_canary_lies_beside_the_countries_and_neither_sees_the_other(root: Path) -> None:
    (root / "canary" / "uk" / A).parent.mkdir(parents=True)
    (root / "canary" / "uk" / f"{A}.1.jpg").write_text("canary")
    assert asked(root, "imagesys-node list canary/uk").stdout == f"{A}.1.jpg\t6\0"
    assert asked(root, "imagesys-node list canary/de").stdout == ""
    assert "canary" not in asked(root, "imagesys-node list uk").stdout
    assert asked(root, "imagesys-node delete canary/uk", f"{A}.1.jpg\n{B}.1.jpg\n").returncode == 0
    assert list(state(root)) == [f"uk/{A}.1.jpg", f"uk/{B}.1.jpg"]


def let_anybody_in(root: Path) -> None:
    """Give an account without rights the root that its own would have."""
    for folder in (root, *root.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(folder.stat().st_mode | 0o55)
    (root / ".imagesys").mkdir()
    (root / ".imagesys").chmod(0o777)


def test_a_listing_that_fails_on_the_way_says_so(root: Path) -> None:
    let_anybody_in(root)
    (root / "uk" / "0" / "1" / "3").chmod(0)
    done = subprocess.run(
        [*(["setpriv", "--reuid=65534", "--clear-groups"] if os.getuid() == 0 else []), "sh", SCRIPT, root],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PATH": os.environ["PATH"], "SSH_ORIGINAL_COMMAND": "imagesys-node list uk"},
    )
    (root / "uk" / "0" / "1" / "3").chmod(0o755)
    assert done.returncode != 0
    assert "0/1/3" in done.stderr
    assert "ermission denied" in done.stderr


def test_a_node_is_ready_when_no_country_is_behind(root: Path) -> None:
    ready = root / ".imagesys" / "ready"
    for said, there in [("uk yes", False), ("de yes", False), ("uk no", False), ("de no", True), ("de no", True)]:
        assert asked(root, f"imagesys-node behind {said}").returncode == 0
        assert ready.exists() is there, said
    asked(root, "imagesys-node behind fr yes")
    assert not ready.exists()


def test_only_the_last_words_of_a_command_count(root: Path) -> None:
    said = question(root, "version")
    assert len(said.line.splitlines()) > 1
    done = asked(root, said.line)
    assert said.read("n1", str, done.stdout.encode(), done.returncode, done.stderr) == "imagesys-node 6\n"
    assert asked(root, f"rm -rf {root}; imagesys-node version").stdout == "imagesys-node 6\n"
    assert list(state(root)) != []


@pytest.mark.parametrize("name", ["n1", RESTRICTED])
def test_plain_and_restricted_nodes_do_the_same(world: World, tmp_path: Path, name: str) -> None:
    for number in (1, 2):
        for country in ("uk", "canary/uk"):
            file = tmp_path / country / f"{A}.{number}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(str(number))
    paths = [f"uk/{A}.1.jpg", f"uk/{A}.2.jpg"]
    ends = [path[3:] for path in paths]
    with NodeSession(world.ctx.node(name)) as node:
        assert node.prepare().free_bytes > 0
        node.push(tmp_path, paths)
        with node.listing("uk") as stream:
            assert stream.read().decode() == "".join(f"{end}\t1\0" for end in ends)
        assert [entry.path for entry in node.stat("uk", ends)] == ends
        assert node.sums("uk", [*ends, f"{B}.1.jpg"]).keys() == set(ends)
        back = tmp_path / "back"
        back.mkdir()
        node.pull([*paths, f"uk/{B}.1.jpg"], back)
        assert sorted(state(back)) == paths
        node.push(tmp_path, [f"canary/{path}" for path in paths])
        assert node.sums("canary/uk", ends).keys() == set(ends)
        node.delete([*paths, f"canary/{paths[0]}"])
        assert node.stat("uk", ends) == []
        assert [entry.path for entry in node.stat("canary/uk", ends)] == ends[1:]
        with pytest.raises(ValueError, match="no path of a thumbnail"):
            node.delete(["uk/../secret"])
        with pytest.raises(NodeFault, match="no country: canary"):
            node.delete([f"canary/{A}.1.jpg"])


def test_a_link_in_the_tree_is_not_written_through(world: World, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    country = world.root(RESTRICTED) / "uk"
    country.mkdir(parents=True)
    (country / "0").symlink_to(outside)
    file = tmp_path / "staged" / "uk" / f"{A}.1.jpg"
    file.parent.mkdir(parents=True)
    file.write_text("x")
    with NodeSession(world.ctx.node(RESTRICTED)) as node:
        node.prepare()
        node.push(tmp_path / "staged", [f"uk/{A}.1.jpg"])
    assert list(outside.iterdir()) == []
    assert not (country / "0").is_symlink()


def test_what_an_old_script_does_not_know_is_a_fault_with_its_remedy(world: World) -> None:
    with NodeSession(world.ctx.node(RESTRICTED)) as node, pytest.raises(NodeFault) as caught:
        node._ask(str, "list", "uk", "0/1/2/3")
    assert caught.value.reason == "refused"
    assert "install the newest imagesys-node on n2" in str(caught.value)


def test_rsync_is_asked_for_in_words_that_the_script_accepts(root: Path) -> None:
    done = asked(root, f"{rsync_program(root)} --server --daemon .")
    assert done.returncode != 77, done.stderr
    assert done.stdout.startswith("@RSYNCD: ")


def test_a_long_list_reaches_a_node_that_is_slow_to_begin(world: World) -> None:
    """More than a pipe holds, and an answer that takes longer than the wait between two looks."""
    paths = [f"{number:05x}"[0] + "/1/2/" + f"{number:037x}.1.jpg" for number in range(3000)]
    with NodeSession(world.ctx.node("n1")) as node:
        said = question(node.node.root, "stat", "uk")
        ended = node._run(node._ssh(f"sleep 1.5; {said.line}"), data=said.list(as_list(paths)))
    assert said.read("n1", str, ended.output, ended.returncode, ended.messages) == ""


def test_a_listing_follows_no_link_in_the_place_of_a_folder_above_its_own(root: Path, tmp_path: Path) -> None:
    for place in ("0/1", "0"):
        (root / "uk" / place).rename(tmp_path / "elsewhere")
        (root / "uk" / place).symlink_to(tmp_path / "elsewhere")
        for folder in ("0/1/2", "0/1"):
            done = asked(root, f"imagesys-node list uk {folder}")
            assert (done.returncode, done.stdout) == (77, ""), (place, folder)
        (root / "uk" / place).unlink()
        (tmp_path / "elsewhere").rename(root / "uk" / place)
    assert asked(root, "imagesys-node list uk 0/1/2").returncode == 0


@pytest.mark.parametrize("closed", ["root", "root/uk"])
@pytest.mark.parametrize("verb", ["delete", "stat", "sums", "list"])
def test_in_a_folder_that_cannot_be_entered_nothing_is_done_in_another(
    root: Path, tmp_path: Path, verb: str, closed: str
) -> None:
    """The shell would stay where it is, and there may lie files of the same names."""
    here = tmp_path / "here"
    shutil.copytree(root / "uk", here)
    subprocess.run(["chmod", "-R", "777", here], check=True)
    let_anybody_in(root)
    (tmp_path / closed).chmod(0)
    before = state(here)
    try:
        done = subprocess.run(
            [*(["setpriv", "--reuid=65534", "--clear-groups"] if os.getuid() == 0 else []), "sh", SCRIPT, root],
            input=f"{A}.1.jpg\n",
            cwd=here,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={"PATH": os.environ["PATH"], "SSH_ORIGINAL_COMMAND": f"imagesys-node {verb} uk"},
        )
    finally:
        (tmp_path / closed).chmod(0o755)
    assert done.returncode not in (0, 77), done
    assert done.stdout == ""
    assert state(here) == before


def test_a_file_that_cannot_be_deleted_is_named_and_the_others_go(root: Path) -> None:
    in_the_way = root / "uk" / f"{A}.1.jpg"
    in_the_way.unlink()
    (in_the_way / "kept").mkdir(parents=True)
    done = asked(root, "imagesys-node delete uk", f"{A}.1.jpg\n{A}.2.jpg\n{B}.1.jpg\n")
    assert done.returncode not in (0, 77)
    assert f"{A}.1.jpg" in done.stderr
    assert state(root) == {}


def test_what_sort_has_put_aside_is_not_swept_while_a_listing_may_need_it(root: Path, tmp_path: Path) -> None:
    own = root / ".imagesys"
    assert asked(root, "imagesys-node prepare").returncode == 0
    for name, hours in (("tmp/old", 2), ("sort/old", 30), ("sort/in-use", 6)):
        (own / name).touch()
        os.utime(own / name, (time.time() - hours * 3600,) * 2)
    assert asked(root, "imagesys-node prepare").returncode == 0
    assert sorted(path.name for folder in ("tmp", "sort") for path in (own / folder).iterdir()) == ["in-use"]

    wrapper = tmp_path / "bin" / "sort"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/said\nexec {shutil.which("sort")} "$@"\n')
    wrapper.chmod(0o755)
    done = subprocess.run(
        ["sh", SCRIPT, root],
        capture_output=True,
        timeout=30,
        check=True,
        env={"PATH": f"{wrapper.parent}:{os.environ['PATH']}", "SSH_ORIGINAL_COMMAND": "imagesys-node list uk"},
    )
    assert done.stdout
    assert f"-T {own}/sort" in (tmp_path / "said").read_text()


def test_a_node_keeps_the_first_identity_that_it_is_given(root: Path) -> None:
    first, second = str(uuid4()), str(uuid4())
    assert asked(root, "imagesys-node identity").stdout == ""
    assert not (root / ".imagesys").exists()
    for said in (f"identity {first}", f"identity {second}", "identity"):
        assert asked(root, f"imagesys-node {said}").stdout == f"{first}\n"
    assert list((root / ".imagesys" / "tmp").iterdir()) == []


def test_of_many_that_give_a_node_an_identity_at_once_one_wins(root: Path) -> None:
    with ThreadPoolExecutor() as pool:
        given = list(pool.map(lambda _: asked(root, f"imagesys-node identity {uuid4()}").stdout, range(20)))
    assert set(given) == {(root / ".imagesys" / "identity").read_text()}
