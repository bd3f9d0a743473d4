"""The crossbar's configuration: validation, converter, hash and TOML."""

import re

import pytest

from steelyard.contract import AcceleratorConfig, configure
from steelyard.engines.crossbar import CrossbarConfig
from steelyard.errors import UserError


def test_derived_sizes_follow_from_the_fields():
    config = CrossbarConfig(columns=100, ou_columns=24, cell_bits=2, dac_bits=4)
    assert (config.slices, config.steps, config.weight_bitlines) == (4, 2, 8)
    assert (config.ou_weights, config.crossbar_weights) == (3, 12)
    assert config.greatest_sum == 9 * 15 * 3
    offset = config.with_(signed="offset")
    assert (offset.weight_bitlines, offset.ou_weights, offset.crossbar_weights) == (4, 6, 25)


@pytest.mark.parametrize(
    "fields, sentence",
    [
        (
            {"rows": 128, "ou_rows": 129},
            "Configuration field 'ou_rows' must lie between 1 and the crossbar's 128 rows, "
            "not 129; an operation unit is a part of one crossbar.",
        ),
        (
            {"columns": 8, "ou_columns": 16},
            "Configuration field 'ou_columns' must lie between 1 and the crossbar's 8 columns, "
            "not 16; an operation unit is a part of one crossbar.",
        ),
        (
            {"cell_bits": 3},
            "Configuration field 'cell_bits' must divide the 8 bits of a weight, not be 3; "
            "use 1, 2, 4 or 8.",
        ),
        (
            {"dac_bits": 6},
            "Configuration field 'dac_bits' must divide the 8 bits of an activation, not be 6; "
            "use 1, 2, 4 or 8.",
        ),
        (
            {"ou_columns": 6},
            "Configuration field 'ou_columns' must be a multiple of the 4 bitlines of a weight "
            "(differential, 4-bit cells), not 6; round it up.",
        ),
        (
            {"adc_bits": 0},
            "Configuration field 'adc_bits' must lie between 1 and 24, not 0; "
            "choose a value in that range.",
        ),
        (
            {"rows": 5000},
            "Configuration field 'rows' must lie between 1 and 4096, not 5000; "
            "choose a value in that range.",
        ),
        (
            {"adc_range": "auto"},
            "Configuration field 'adc_range' must be one of 'unit', 'full', not 'auto'; "
            "choose one of them.",
        ),
        (
            {"ou_formation": "live"},
            "Configuration field 'ou_formation' must be one of 'static', 'dynamic', not 'live'; "
            "choose one of them.",
        ),
        (
            {"adc_resolve": True},
            "Configuration field 'adc_resolve' must be one of 'all', 'reach', not True; "
            "choose one of them.",
        ),
        (
            {"signed": 1},
            "Configuration field 'signed' must be one of 'differential', 'offset', not 1; "
            "choose one of them.",
        ),
        (
            {"ou_rows": 9.0},
            "Configuration field 'ou_rows' must be an integer, not 9.0; "
            "write it without quotes or a decimal point.",
        ),
    ],
)
def test_a_bad_field_is_refused_in_one_sentence(fields, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        CrossbarConfig(**fields)


def test_an_adc_that_clips_is_warned_about():
    config = CrossbarConfig(adc_bits=7)
    assert not config.adc_is_ideal
    assert config.warnings() == [
        "The 7-bit ADC clips bitline sums above 127, but an operation unit's sums reach 135; "
        "use 8 bits or fewer 'ou_rows' for exact results."
    ]
    assert config.convert([0, 126, 127, 128, 135]).tolist() == [0, 126, 127, 127, 127]


def test_an_adc_of_full_range_is_warned_about_its_steps():
    config = CrossbarConfig(adc_bits=4, adc_range="full")
    assert config.adc_shift == 4
    assert config.warnings() == [
        "The 4-bit ADC tells bitline sums apart only in steps of 16, but an operation unit's sums "
        "reach 135; use 8 bits or fewer 'ou_rows' for exact results."
    ]


@pytest.mark.parametrize("adc_range", ["unit", "full"])
def test_an_ideal_adc_changes_no_sum_and_is_not_warned_about(adc_range):
    config = CrossbarConfig(adc_range=adc_range)
    assert config.adc_is_ideal
    assert config.warnings() == []
    assert config.convert(range(136)).tolist() == list(range(136))


@pytest.mark.parametrize("rounding", ["floor", "nearest"])
@pytest.mark.parametrize("bits", range(1, 9))
def test_full_range_is_the_finest_that_does_not_clip(bits, rounding):
    config = CrossbarConfig(adc_bits=bits, adc_range="full", adc_rounding=rounding)
    step = 1 << config.adc_shift
    off = config.convert(range(136)) - range(136)
    if rounding == "floor":
        assert off.min() > -step and off.max() == 0
    else:
        assert -step / 2 < off.min() and off.max() <= step / 2
    if step > 1:
        half = step // 4 if rounding == "nearest" else 0
        assert (135 + half) // (step // 2) >= 1 << bits  # a finer step would clip


def test_halves_round_upwards():
    config = CrossbarConfig(adc_bits=6, adc_range="full", adc_rounding="nearest")
    assert config.adc_shift == 2
    assert config.convert(range(8)).tolist() == [0, 0, 4, 4, 4, 4, 8, 8]


def test_the_hash_depends_on_every_field_but_the_constant_set():
    config = CrossbarConfig()
    assert config.with_(constants="mnsim").canonical() == config.canonical()
    changes = {
        "rows": 256, "columns": 256, "ou_rows": 8, "ou_columns": 16, "cell_bits": 8,
        "dac_bits": 2, "adc_bits": 7, "adc_range": "full", "adc_rounding": "nearest",
        "signed": "offset", "adc_resolve": "reach", "ou_formation": "dynamic",
    }  # fmt: skip
    texts = {config.with_(**{name: value}).canonical() for name, value in changes.items()}
    assert len(texts | {config.canonical()}) == 13


def test_toml_holds_every_field(tmp_path):
    path = tmp_path / "crossbar.toml"
    for resolve, formation in (("all", "static"), ("reach", "dynamic")):
        config = CrossbarConfig(
            ou_rows=16, adc_range="full", constants="yu2020", adc_resolve=resolve,
            ou_formation=formation,
        )  # fmt: skip
        config.to_toml(path)
        assert CrossbarConfig.from_toml(path) == config
        assert ('adc_resolve = "reach"' in path.read_text()) == (resolve == "reach")
        assert ('ou_formation = "dynamic"' in path.read_text()) == (formation == "dynamic")
        tile = configure("crossbar", crossbar=config)
        tile.to_toml(path)
        assert AcceleratorConfig.from_toml(path) == tile


def test_converters_that_resolve_all_bits_leave_hash_and_values_as_they_were():
    """Programs from before there were others keep their hardware."""
    assert CrossbarConfig().canonical() == (
        '{"adc_bits":8,"adc_range":"unit","adc_rounding":"floor","cell_bits":4,"columns":512,'
        '"dac_bits":1,"ou_columns":8,"ou_rows":9,"rows":512,"signed":"differential"}'
    )
    values = configure("crossbar").values()["engine"]["crossbar"]
    assert not {"adc_resolve", "ou_formation"} & values.keys()


def test_the_reach_of_a_bitline_is_that_of_its_greatest_code():
    assert CrossbarConfig().reach([0, 1, 2, 3, 4, 127, 128, 135]).tolist() == [
        0, 1, 2, 2, 3, 7, 8, 8,
    ]  # fmt: skip
    assert CrossbarConfig().reach_levels == [1, 2, 4, 8, 16, 32, 64, 128]
    assert CrossbarConfig(dac_bits=2, adc_bits=9).reach_levels == [1, 1, 2, 3, 6, 11, 22, 43, 86]
    assert CrossbarConfig(dac_bits=2, adc_bits=9).reach([1, 3]).tolist() == [2, 4]
    assert CrossbarConfig(adc_bits=4).reach([7, 15, 16, 135]).tolist() == [3, 4, 4, 4]
    # A step of the converter is 4 units, and halves are rounded upwards.
    rough = CrossbarConfig(adc_bits=6, adc_range="full", adc_rounding="nearest")
    assert rough.reach([0, 1, 2, 5, 6, 135]).tolist() == [0, 0, 1, 1, 2, 6]


def test_differences_name_the_engine_and_single_fields_of_the_crossbar():
    tile = configure("crossbar", crossbar=CrossbarConfig(ou_rows=8))
    assert tile.differences(configure("crossbar")) == ["crossbar.ou_rows: 8 != 9"]
    assert tile.differences(tile) == []
    stops = tile.with_(crossbar=CrossbarConfig(ou_rows=8, adc_resolve="reach"))
    assert stops.differences(tile) == ["crossbar.adc_resolve: reach != all"]
    assert tile.differences(stops) == ["crossbar.adc_resolve: all != reach"]
    engines = ["crossbar tile", "sparse array"]
    for one, other in (
        (tile, configure("array", columns=1)),
        (configure("array", columns=1), tile),
    ):
        found = one.differences(other)
        assert found[0] == f"engine: {engines[0]} != {engines[1]}"
        assert [each.partition(":")[0] for each in found[1:]] == ["group", "window_groups"]
        engines.reverse()


def test_a_table_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "array.toml"
    path.write_text("[array]\nlanes = 8\n")
    with pytest.raises(
        UserError, match=r"must hold one table '\[crossbar\]', or .*, not \['array'\]"
    ):
        CrossbarConfig.from_toml(path)
