"""Outputs: files are replaced, links followed, devices and FIFOs written to, the rest refused."""

import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from steelyard.errors import UserError
from steelyard.files import is_stream, replacing


def write(path: Path, content: bytes = b"new") -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def left(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "deep").mkdir()
    target, link = tmp_path / "deep" / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to("deep/target")
    (tmp_path / "again").symlink_to(link)
    write(tmp_path / "again")
    assert target.read_bytes() == b"new" and not target.is_symlink()
    assert os.readlink(link) == "deep/target" and (tmp_path / "again").is_symlink()
    assert left(tmp_path) == ["again", "deep", "link"] and left(tmp_path / "deep") == ["target"]


def test_a_failure_leaves_the_target_of_a_link_as_it_was(tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    with pytest.raises(RuntimeError), replacing(tmp_path / "link") as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert (tmp_path / "target").read_bytes() == b"old"
    assert left(tmp_path) == ["link", "target"]


def test_a_link_to_nothing_makes_what_it_leads_to(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "new" / "target")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "new" / "target").read_bytes() == b"new"


def test_a_fifo_that_nobody_reads_is_refused_and_not_waited_for(tmp_path, monkeypatch):
    fifo = tmp_path / "fifo.npy"
    os.mkfifo(fifo)
    monkeypatch.setattr("steelyard.files.READER_SECONDS", 0.2)
    with pytest.raises(UserError, match=r"nobody reads this FIFO; start its reader before"):
        with replacing(fifo) as temporary:
            temporary.write_bytes(b"scores")
    assert stat.S_ISFIFO(fifo.lstat().st_mode) and left(tmp_path) == ["fifo.npy"]


def test_a_fifo_is_written_to(tmp_path):
    fifo, got = tmp_path / "fifo.npy", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    (tmp_path / "link").symlink_to(fifo)
    write(tmp_path / "link", b"content")
    reader.join(timeout=10)
    assert got == [b"content"]
    assert stat.S_ISFIFO(fifo.lstat().st_mode) and left(tmp_path) == ["fifo.npy", "link"]


def test_a_character_device_is_written_to_and_stays(tmp_path):
    # A pseudo-terminal is a device of this test's own.
    master, slave = os.openpty()
    try:
        (tmp_path / "tty").symlink_to(os.ttyname(slave))
        assert is_stream(tmp_path / "tty")
        write(tmp_path / "tty", b"content")
        assert os.read(master, 100) == b"content"
        assert stat.S_ISCHR(os.stat(tmp_path / "tty").st_mode)
    finally:
        os.close(master)
        os.close(slave)
    assert left(tmp_path) == ["tty"]


@pytest.mark.parametrize("name", ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1"])
@pytest.mark.parametrize("piped", [True, False])
def test_standard_output_is_continued(tmp_path, name, piped):
    code = (
        "from steelyard.files import replacing\n"
        "print('before')\n"
        f"with replacing({name!r}) as temporary: temporary.write_text('content\\n')\n"
        "print('after')\n"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    command, out = [sys.executable, "-c", code], tmp_path / "out"
    with out.open("wb") as file:
        stream = subprocess.PIPE if piped else file
        run = subprocess.run(command, stdout=stream, check=True, env=environment)
    assert (run.stdout if piped else out.read_bytes()) == b"before\ncontent\nafter\n"
    assert left(tmp_path) == ["out"]


def test_a_socket_a_folder_and_a_circle_of_links_are_refused(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(UserError, match=r"socket' cannot be written \(Is a socket\); give"):
            write(tmp_path / "socket")
    with pytest.raises(UserError, match=r"cannot be written \(Is a directory\); give"):
        write(tmp_path)
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UserError, match=r"\(Too many levels of symbolic links\); give"):
        write(tmp_path / "a")
    assert left(tmp_path) == ["a", "b", "socket"]


def test_a_name_may_be_as_long_as_a_name_can_be(tmp_path):
    path = tmp_path / ("x" * 251 + ".npy")
    write(path)
    assert path.read_bytes() == b"new" and left(tmp_path) == [path.name]
