"""``steelyard boards`` and what ``steelyard bitstream`` refuses."""

import json

from steelyard.contract import configure
from steelyard_boards import BOARDS, board
from steelyard_boards.flow import prepare


def test_boards_lists_every_board(steelyard, tmp_path):
    result = steelyard("boards", "--json", tmp_path / "boards.json")
    assert result.status == 0
    for each in BOARDS.values():
        assert each.name in result.out
    rows = json.loads((tmp_path / "boards.json").read_text())["boards"]
    assert rows == [each.row() for each in BOARDS.values()]


def test_an_unknown_board_is_refused_with_the_names_of_all(steelyard, tmp_path):
    result = steelyard("bitstream", "ulx3s", "-o", tmp_path / "out")
    assert (result.status, result.out) == (2, "")
    assert result.err == (f"error: There is no board 'ulx3s'; choose one of {', '.join(BOARDS)}.\n")


def test_a_configuration_that_does_not_fit_is_refused_before_anything_is_written(
    steelyard, tmp_path
):
    board("ulx3s_85f").default.to_toml(tmp_path / "large.toml")
    result = steelyard(
        "bitstream", "ulx3s_12f", "--config", tmp_path / "large.toml", "-o", tmp_path / "out"
    )
    assert result.status == 2
    assert "has 28 multipliers and the configuration needs 152" in result.err
    assert not (tmp_path / "out").exists()


def test_the_bitstream_of_a_tile_is_held_against_the_tiles_own_needs(steelyard, tmp_path):
    configure("crossbar", products=False, additions=False).to_toml(tmp_path / "tile.toml")
    command = ("bitstream", "ulx3s_25f", "--config", tmp_path / "tile.toml", "-o", tmp_path / "out")
    result = steelyard(*command)
    assert result.status == 2
    assert "has 56 block RAMs and the configuration needs 208" in result.err
    assert "256 window_groups or 512 partial_sum_channels." in result.err
    assert not (tmp_path / "out").exists()


def test_the_design_of_a_tile_is_prepared_for_synthesis():
    config = configure(
        "crossbar",
        lanes=4, requantizers=1, window_groups=8, activation_words=64, weight_words=64,
        parameter_words=16, partial_sum_channels=16, max_layers=4,
    )  # fmt: skip
    each = board("ulx3s_25f")
    each.check(config)
    files = prepare(each, config)
    assert "bitlines" in files["top.il"] and "synth_ecp5" in files["top.ys"]


def test_an_output_that_is_a_file_is_refused(steelyard, tmp_path):
    (tmp_path / "out").write_text("")
    result = steelyard("bitstream", "ulx3s_12f", "-o", tmp_path / "out")
    assert result.status == 2
    assert str(tmp_path / "out") in result.err
