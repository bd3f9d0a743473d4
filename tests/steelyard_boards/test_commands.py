"""``steelyard boards`` and what ``steelyard bitstream`` refuses."""

import json

from steelyard_boards import BOARDS, board


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
    assert "has 28 multipliers and the configuration needs 140" in result.err
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused(steelyard, tmp_path):
    (tmp_path / "out").write_text("")
    result = steelyard("bitstream", "ulx3s_12f", "-o", tmp_path / "out")
    assert result.status == 2
    assert str(tmp_path / "out") in result.err
