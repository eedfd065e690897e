"""The installer of a frontend: it says what it does, does it once, and gives a key nothing that it should not have."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagesys_lib.nodes.commands import SCRIPT
from include.sandbox.settings import PROJECT

FOLDER = PROJECT / "imagesys_lib" / "nodes" / "frontend"
USER = f"imgsys{os.getpid() % 100_000}"
REAL = pytest.mark.skipif(os.getuid() != 0 or not shutil.which("useradd"), reason="accounts are root's to make")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    key = tmp_path / "key.pub"
    key.write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB imagesys\n")
    return key


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that any account can reach; with it goes the account that the test has made."""
    place = Path(tempfile.mkdtemp(prefix="imagesys-install-", dir="/var/tmp"))
    place.chmod(0o755)
    yield place
    subprocess.run(["userdel", "--remove", USER], capture_output=True, check=False)
    shutil.rmtree(place)


def installer(*arguments: str | Path, folder: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    script = folder / "install.sh"
    return subprocess.run(["sh", script, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_the_folder_holds_the_very_script_that_the_library_speaks_to() -> None:
    assert SCRIPT.resolve() == FOLDER / "imagesys-node"
    assert os.access(SCRIPT, os.X_OK)


@pytest.mark.parametrize("copying", ["cp -r {0} {1}", "rsync -a {0} {1}", "tar -cC {0}/.. frontend | tar -xC {1}"])
def test_the_folder_can_be_copied_to_a_frontend_by_any_means(tmp_path: Path, key: Path, copying: str) -> None:
    subprocess.run(["sh", "-c", copying.format(FOLDER, tmp_path)], check=True, timeout=60)
    folder = tmp_path / "frontend"
    assert (folder / "imagesys-node").read_bytes() == SCRIPT.read_bytes()
    arguments = ("--dry-run", "--root", tmp_path / "root", key)
    assert installer(*arguments, folder=folder).returncode == 0
    (folder / "imagesys-node").unlink()
    without = installer(*arguments, folder=folder)
    assert without.returncode == 2
    assert "copy the whole folder" in without.stderr


def test_the_installer_says_what_it_would_do_and_does_nothing(tmp_path: Path, key: Path) -> None:
    home = Path.home()
    before = (home / ".ssh" / "authorized_keys").read_text() if (home / ".ssh" / "authorized_keys").exists() else ""
    done = installer("--dry-run", "--root", str(tmp_path / "root"), "--bin", str(tmp_path / "bin"), str(key))
    assert done.returncode == 0, done.stderr
    assert f'restrict,command="{tmp_path}/bin/imagesys-node {tmp_path}/root" ssh-ed25519 AAAA' in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key.pub"]
    after = (home / ".ssh" / "authorized_keys").read_text() if (home / ".ssh" / "authorized_keys").exists() else ""
    assert after == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [([], "which public key"), (["--root", "srv", "KEY"], "absolute"), (["--what", "KEY"], "unknown option")],
)
def test_the_installer_says_what_is_wrong(key: Path, arguments: list[str], says: str) -> None:
    done = installer(*(str(key) if argument == "KEY" else argument for argument in arguments))
    assert done.returncode == 2
    assert says in done.stderr


@pytest.mark.parametrize("through", ["itself", "a link", "its .ssh"])
def test_a_folder_that_contains_the_accounts_own_keys_is_refused(tmp_path: Path, key: Path, through: str) -> None:
    own = pwd.getpwuid(os.getuid())
    root = Path(own.pw_dir)
    if through == "a link":
        (tmp_path / "link").symlink_to(root)
        root = tmp_path / "link"
    elif through == "its .ssh":
        root /= ".ssh"
    done = installer("--dry-run", "--user", own.pw_name, "--root", root, key)
    assert done.returncode == 2
    assert "must not contain" in done.stderr
    assert "authorized_keys" not in done.stdout


@REAL
def test_an_account_is_made_that_can_do_its_work_and_a_second_run_changes_nothing(place: Path, key: Path) -> None:
    root, script = place / "srv" / "images", place / "bin" / "imagesys-node"
    arguments = ("--user", USER, "--root", root, "--bin", script.parent, key)
    done = installer(*arguments)
    assert done.returncode == 0, done.stderr
    account = pwd.getpwnam(USER)
    keys = Path(account.pw_dir) / ".ssh" / "authorized_keys"
    assert keys.read_text() == f'restrict,command="{script} {root}" {key.read_text()}'
    assert (keys.stat().st_mode & 0o777, keys.stat().st_uid) == (0o600, account.pw_uid)
    assert (root.stat().st_uid, root.stat().st_mode & 0o777) == (account.pw_uid, 0o755)
    assert script.stat().st_uid == 0
    assert script.read_bytes() == (FOLDER / "imagesys-node").read_bytes()

    def asked(said: str) -> subprocess.CompletedProcess[str]:
        switch = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        own = {"PATH": os.environ["PATH"], "SSH_ORIGINAL_COMMAND": said}
        command = [*switch, script, root]
        return subprocess.run(command, env=own, capture_output=True, text=True, timeout=30, check=False, cwd="/")

    assert asked("imagesys-node prepare").returncode == 0
    assert (root / ".imagesys" / "tmp").stat().st_uid == account.pw_uid
    assert asked("id").returncode == 77

    before = keys.stat()
    again = installer(*arguments)
    assert again.returncode == 0, again.stderr
    assert "has the key already" in again.stdout
    assert "useradd" not in again.stdout
    assert (keys.stat().st_mtime_ns, keys.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert asked("imagesys-node space").returncode == 0

    keys.write_text(key.read_text())  # the same key with all rights
    refused = installer(*arguments)
    assert refused.returncode == 2
    assert "with other rights" in refused.stderr
