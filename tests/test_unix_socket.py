"""A PDP beside a workload: a Unix socket in a directory that only the PDP's user may enter."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pdp.errors import ConfigurationError
from pdp.server import unix_socket
from pdp.server.unix_socket import check_socket
from pdp_client import Cause, Client, Resource, Subject
from tests.test_process import House, house, quick_tree

__all__ = ["house"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ours alone."""
    made = tmp_path / "run"
    made.mkdir(mode=0o700)
    return made


def test_a_directory_of_ours_alone_is_taken(folder: Path) -> None:
    """Empty, or with the socket of a process that is gone."""
    path = folder / "pdp.sock"
    check_socket(path)
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    check_socket(path)


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o750, 0o704, 0o777])
def test_a_directory_that_others_may_enter_is_refused(folder: Path, mode: int) -> None:
    """Whoever may enter could connect, or put a socket of their own in its place."""
    folder.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 0700"):
        check_socket(folder / "pdp.sock")


def test_a_directory_that_others_may_enter_twin_without_guard(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were modes not looked at, an open directory would do."""
    folder.chmod(0o777)
    monkeypatch.setattr(unix_socket, "_OTHERS", 0)
    check_socket(folder / "pdp.sock")


def test_what_is_no_directory_of_ours_is_refused(folder: Path, tmp_path: Path) -> None:
    """Missing, a link that somebody may turn, a file, a file in the socket's place."""
    link = tmp_path / "link"
    link.symlink_to(folder)
    (folder / "file").write_text("")
    for path, said in (
        (tmp_path / "nowhere" / "pdp.sock", "No such file"),
        (link / "pdp.sock", "no directory"),
        (folder / "file" / "pdp.sock", "no directory"),
        (folder / "file", "is no socket"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            check_socket(path)


def test_a_socket_that_somebody_listens_at_is_not_taken_away(folder: Path) -> None:
    """GRPC would put its own in its place, and the other would wait for callers for ever."""
    path = folder / "pdp.sock"
    with socket.socket(socket.AF_UNIX) as held:
        held.bind(str(path))
        held.listen()
        with pytest.raises(ConfigurationError, match="somebody listens"):
            check_socket(path)


def test_a_directory_of_somebody_else_is_refused(folder: Path) -> None:
    """Its owner may enter whatever its mode says."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    os.chown(folder, 65_534, 65_534)
    with pytest.raises(ConfigurationError, match="must belong to the user"):
        check_socket(folder / "pdp.sock")


def test_a_sidecar_answers_over_mutual_tls(house: House, folder: Path) -> None:
    """`pdp serve` with a socket as well: the caller is proven by its certificate there, too."""
    tree = quick_tree()
    tree["socket"] = str(folder / "pdp.sock")
    house.configure(tree)
    process = house.start()
    assert process.ask()
    svid = house.pep
    svid.write(house.folder, "sidecar-caller")
    (house.folder / "ca.pem").write_bytes(house.authority.bundle_pem)
    with Client(
        f"unix:{folder / 'pdp.sock'}",
        server_name="localhost",
        budget_s=5.0,
        certificate=house.folder / "sidecar-caller.pem",
        key=house.folder / "sidecar-caller.key",
        trust_bundle=house.folder / "ca.pem",
    ) as client:
        decision = client.authorize(Subject("user", "nobody"), "read", Resource("unknown", "1"))
    assert decision.cause not in {Cause.UNREACHABLE, Cause.UNUSABLE}
    assert decision.record is not None
    assert process.stop() == 0


def test_a_sidecar_twin_whose_directory_is_open_does_not_start(house: House, folder: Path) -> None:
    """Half a guard is none: it says what to do, and ends."""
    folder.chmod(0o755)
    tree = quick_tree()
    tree["socket"] = str(folder / "pdp.sock")
    house.configure(tree)
    process = house.start(listening=False)
    assert process.process.wait(timeout=30) == 2
    assert "chmod 0700" in process.rest()
