"""``steelyard flash``: the loader's command, and what is missing or fails."""

import sys

import pytest

from steelyard_boards import BOARDS


@pytest.fixture
def bitstream(tmp_path):
    file = tmp_path / "some.bit"
    file.write_text("bits")
    return file


def test_dry_run_prints_the_command_and_does_nothing(put_tool, tmp_path, bitstream, steelyard):
    put_tool("OPENFPGALOADER", "raise SystemExit(9)")
    loader = tmp_path / "openfpgaloader"
    result = steelyard("flash", "ulx3s_85f", "--bitstream", bitstream, "--dry-run")
    assert result.status == 0, result.err
    assert "".join(result.out.split()) == f"{loader}-bulx3s{bitstream}"


@pytest.mark.parametrize("each", BOARDS.values(), ids=BOARDS)
def test_every_board_names_itself_or_its_cable(each):
    option, value = each.loader
    assert option in ("-b", "-c")
    assert value


def test_the_loader_gets_the_bitstream(put_tool, tmp_path, bitstream, steelyard):
    got = tmp_path / "got"
    put_tool("OPENFPGALOADER", f"import sys; open({str(got)!r}, 'w').write(sys.argv[3])")
    assert steelyard("flash", "arty_a7", "--bitstream", bitstream).status == 0
    assert got.read_text() == str(bitstream)


def test_a_loader_that_fails_is_a_bad_result(put_tool, bitstream, steelyard):
    put_tool("OPENFPGALOADER", "raise SystemExit(1)")
    result = steelyard("flash", "arty_a7", "--bitstream", bitstream)
    assert result.status == 1
    assert "openFPGALoader failed with status 1" in result.err


def test_a_missing_library_is_named(put_tool, bitstream, steelyard):
    put_tool("OPENFPGALOADER", "raise SystemExit(127)")
    result = steelyard("flash", "arty_a7", "--bitstream", bitstream)
    assert result.status == 2
    assert "install libusb-1.0 and libftdi1" in result.err


def test_a_missing_bitstream_is_refused(steelyard, tmp_path):
    file = tmp_path / "none.bit"
    result = steelyard("flash", "ulx3s_85f", "--bitstream", file)
    assert (result.status, result.out) == (2, "")
    assert result.err == (
        f"error: There is no bitstream {str(file)!r}; build it with 'steelyard bitstream "
        "ulx3s_85f' or name one with --bitstream.\n"
    )


def test_a_missing_loader_is_refused(monkeypatch, bitstream, steelyard):
    monkeypatch.delenv("OPENFPGALOADER", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    result = steelyard("flash", "ulx3s_85f", "--bitstream", bitstream)
    assert result.status == 2
    assert "needs openFPGALoader, which is not here" in result.err
