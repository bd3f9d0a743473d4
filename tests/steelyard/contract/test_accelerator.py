"""The array's configuration: validation, hash and TOML."""

import hashlib
import re
from dataclasses import FrozenInstanceError

import pytest

from steelyard.contract import AcceleratorConfig, configure
from steelyard.contract.latencies import FUSED_LATENCY, OUTPUT_LATENCY, TABLE_LATENCY, settle
from steelyard.contract.registers import COUNTERS
from steelyard.errors import UserError


def test_derived_sizes_follow_from_the_fields():
    config = configure("array", lanes=16, columns=10, group=8, requantizers=4)
    assert config.engine.macs_per_cycle == 160
    assert config.engine.index_bits == 3
    assert config.engine.weight_bits == 11
    assert config.engine.weight_item_words == 4  # 110 bits
    assert config.activation_item_words == 4
    assert config.drain_beats == 4


@pytest.mark.parametrize("group, bits", [(4, 2), (8, 3), (16, 4), (32, 5)])
def test_an_index_addresses_every_weight_of_a_group(group, bits):
    assert configure("array", group=group).engine.index_bits == bits


@pytest.mark.parametrize(
    "field, value, allowed",
    [
        ("lanes", 12, "one of 4, 8, 16, 32"),
        ("columns", 0, "between 1 and 64"),
        ("columns", 65, "between 1 and 64"),
        ("group", 2, "one of 4, 8, 16, 32"),
        ("requantizers", 3, "one of 1, 2, 4, 8, 16"),
        ("requantizers", 32, "one of 1, 2, 4, 8, 16"),
        ("accumulator_bits", 15, "between 16 and 32"),
        ("window_groups", 3, "one of 2, 4, 8, 16, 32, 64, 128, 256"),
        ("activation_words", 8, "between 16 and 16777216"),
        ("activation_words", 100, "multiple of 16"),
        ("weight_words", 33554432, "between 16 and 16777216"),
        ("parameter_words", 24, "multiple of 16"),
        ("partial_sum_channels", 15, "between 16 and 4096"),
        ("max_layers", 0, "between 1 and 1024"),
        ("max_side", 100, "one of 15, 31, 63, .*, 65535"),
        ("padded_kernel", 4, "one of 3, 5, 7"),
        ("vector_bits", 0, "between 8 and 24"),
        ("vector_bits", 7, "between 8 and 24"),
        ("requantizer_cycles", 8, "one of 1, 16, 32"),
        ("link_words", 100, "one of 32, 64, .*, 4096"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_is_allowed(field, value, allowed):
    sentence = rf"^Configuration field '{field}' must .*{allowed}.*, not {value}; "
    with pytest.raises(UserError, match=sentence):
        configure("array", **{field: value})


@pytest.mark.parametrize("value", ["16", 16.0, True, None])
def test_a_field_must_be_an_integer(value):
    with pytest.raises(UserError, match="Configuration field 'columns' must be an integer, not "):
        configure("array", columns=value)


def test_a_configuration_cannot_change():
    with pytest.raises(FrozenInstanceError):
        configure("array").lanes = 8


def test_with_changes_and_validates():
    assert configure("array").with_(columns=4).engine.columns == 4
    with pytest.raises(UserError, match="'columns'"):
        configure("array").with_(columns=0)


def test_the_hash_is_that_of_the_canonical_text():
    config = configure("array", lanes=4, requantizers=2)
    text = config.canonical()
    assert text.startswith('{"engine":{"accumulator_bits":24,"carry_registers":true,"columns":16,')
    assert config.hash() == hashlib.sha256(text.encode()).digest()


def test_every_field_changes_the_hash_and_is_named_as_a_difference():
    base = configure("array")
    own = base.plain(hashed=True)
    other = {
        "lanes": 8, "columns": 8, "group": 8, "requantizers": 4, "accumulator_bits": 20,
        "multiplier_stages": 3, "carry_registers": False,
        "window_groups": 16, "activation_words": 2048, "weight_words": 2048,
        "parameter_words": 512, "partial_sum_channels": 256, "max_layers": 32,
        "read_registers": False, "weight_queue": False,
        "max_side": 255, "padded_kernel": 5, "ahead": False, "vector_bits": 8,
        "tables": False, "lane_sums": False, "shared_taps": False, "fused_additions": False,
    }  # fmt: skip
    for field, value in other.items():
        changed = base.with_(**{field: value})
        assert changed.hash() != base.hash()
        assert base.differences(changed) == [f"{field}: {own[field]} != {value}"]
    assert base.differences(configure("array")) == []
    alone = base.with_(shared_taps=False)
    assert alone.differences(alone.with_(wide_reads=False)) == ["wide_reads: True != False"]
    plain = base.with_(additions=False, slopes=False, products=False)
    assert plain.hash() != base.hash()
    for field, value in {"requantizer_cycles": 16, "tag_registers": False}.items():
        changed = plain.with_(**{field: value})
        assert changed.hash() not in (plain.hash(), base.hash())
        assert plain.differences(changed) == [f"{field}: {own[field]} != {value}"]
    assert {
        *other,
        "wide_reads",
        "additions",
        "slopes",
        "products",
        "requantizer_cycles",
        "tag_registers",
    } == base.plain(hashed=True).keys()


def test_the_link_is_no_part_of_the_hash():
    base = configure("array")
    for changed in (base.with_(link_words=256), base.with_(link_registered=False)):
        assert changed != base
        assert changed.hash() == base.hash()
        assert base.differences(changed) == []


def test_a_preset_is_a_set_of_fields_that_values_override():
    config = configure("array", "compact", requantizer_cycles=32)
    assert config.output.requantizer_cycles == 32
    assert not config.load.ahead and not config.vector.additions and not config.link.registered
    with pytest.raises(UserError, match="no preset 'tiny' of a configuration; use one of compact"):
        configure("array", "tiny")


@pytest.mark.parametrize(
    "fields, sentence",
    [
        ({"requantizer_cycles": 16}, "do no residual additions; set 'requantizer_cycles' to 1 or"),
        (
            {"requantizer_cycles": 16, "additions": False, "products": False},
            "have one multiplier for all sums; set 'requantizer_cycles' to 1 or 'slopes' to false",
        ),
        (
            {"requantizer_cycles": 16, "additions": False},
            "multiply no activations; set 'requantizer_cycles' to 1 or 'products' to false",
        ),
        (
            {"tag_registers": False, "additions": False},
            "Products of activations need the vector unit's registers; set 'tag_registers' to true",
        ),
        ({"tag_registers": False}, "additions need the vector unit's registers; set"),
        ({"vector_bits": 0}, "'vector_bits' must lie between 8 and 24, not 0"),
        ({"colour": 1}, "has no field 'colour'; allowed are lanes, "),
        ({"ahead": 1}, "'ahead' must be true or false, not 1"),
        ({"wide_reads": "no"}, "'wide_reads' must be true or false, not 'no'"),
        ({"shared_taps": 1}, "'shared_taps' must be true or false, not 1"),
        (
            {"wide_reads": False},
            "Words that three taps share need wide reads of the activation memory; set "
            "'wide_reads' to true or 'shared_taps' to false.",
        ),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(fields, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        configure("array", **fields)


def test_an_engine_that_there_is_not_is_refused():
    with pytest.raises(UserError, match="no engine 'abacus'; write kind = one of 'array', 'cross"):
        configure("abacus")


def test_toml_round_trip(tmp_path):
    config = configure("array", lanes=8, columns=3, requantizers=2, max_layers=7)
    path = tmp_path / "array.toml"
    path.write_text("old")
    config.to_toml(path)
    assert AcceleratorConfig.from_toml(path) == config
    assert [entry.name for entry in tmp_path.iterdir()] == ["array.toml"]


def test_toml_fields_left_out_take_their_defaults(tmp_path):
    path = tmp_path / "array.toml"
    path.write_text("[engine]\ncolumns = 4\n")
    assert AcceleratorConfig.from_toml(path) == configure("array", columns=4)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("lanes = 16\n", "must hold the table '[engine]', and may hold others of "),
        ("[array]\nlanes = 8\n", "not ['array']; put each field under its table"),
        ("[engine]\n[other]\n", "not ['engine', 'other']; put each field under its table"),
        ("engine = 3\n", "'engine' must be a table; write fields under '[engine]'"),
        ("[engine\n", "cannot be read as TOML"),
        ("[engine]\nlane = 16\n", "has no field 'lane'; allowed are lanes, "),
        ("[engine]\nweight_words = 16\n", "has no field 'weight_words'; allowed are lanes, "),
        ("[engine]\nkind = 'abacus'\n", "There is no engine 'abacus'; write kind = "),
        ('[engine]\nlanes = "16"\n', "field 'lanes' must be an integer, not '16'"),
        ("[engine]\nlanes = 5\n", "field 'lanes' must be one of 4, 8, 16, 32, not 5"),
    ],
)
def test_a_bad_file_is_refused_with_a_sentence(tmp_path, text, sentence):
    path = tmp_path / "array.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(sentence)):
        AcceleratorConfig.from_toml(path)


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist; give the path of a TOML file"):
        AcceleratorConfig.from_toml(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read as TOML"):
        AcceleratorConfig.from_toml(tmp_path / "binary.toml")
    with pytest.raises(UserError, match="cannot be read as TOML"):
        AcceleratorConfig.from_toml(tmp_path)


@pytest.mark.parametrize("requantizers", [1, 2, 8])
def test_a_layer_is_written_before_the_next_descriptor_takes_its_place(requantizers):
    config = configure("array", requantizers=requantizers)
    assert config.fuses_additions and config.output.tables
    written = OUTPUT_LATENCY + TABLE_LATENCY + FUSED_LATENCY + 1
    # From the last beat on: quiet cycles, the counters, and the descriptor is taken, of which fused
    # additions see a copy a cycle later.
    assert written <= settle(config) + 1 + len(COUNTERS) + 1
