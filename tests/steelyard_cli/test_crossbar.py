"""The crossbar tile on the command line."""

import numpy as np

from steelyard import golden
from steelyard.crossbar import CrossbarConfig
from steelyard.program import Program
from steelyard.tile import TileConfig


def test_programs_for_the_crossbar_run_on_the_golden_device(steelyard, work, tmp_path):
    path = tmp_path / "tile.syp"
    result = steelyard("compile", work.int8_onnx, "-o", path, "--engine", "crossbar")
    assert result.status == 0, result.err
    program = Program.load(path)
    assert isinstance(program.config, TileConfig)
    assert program.config.crossbar == CrossbarConfig()
    output = tmp_path / "y.npy"
    files = ("--input", work.images, "--output", output, "--device", "golden", "--check")
    result = steelyard("run", path, *files)
    assert result.status == 0, result.err
    network = program.network
    x = network.tensor(network.input).quantize(np.load(work.images))
    expected = network.tensor(network.output).dequantize(golden.run(network, x))[:, :, 0, 0]
    # The default crossbar's converter is ideal.
    assert np.array_equal(np.load(output), expected)


def test_a_crossbar_needs_a_known_mapping_and_no_board(steelyard, work, tmp_path):
    path = tmp_path / "tile.syp"
    command = ("compile", work.int8_onnx, "-o", path, "--engine", "crossbar")
    result = steelyard(*command, "--mapping", "random")
    assert result.status == 2
    assert result.err.startswith("error: Crossbar mapping 'random' is unknown; use one of")
    result = steelyard(*command, "--board", "ulx3s_85f")
    assert result.status == 2
    assert result.err.startswith("error: Board 'ulx3s_85f' has no configuration of the crossbar")
