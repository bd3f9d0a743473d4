"""The array's configuration: validation, hash and TOML."""

import hashlib
import re
from dataclasses import FrozenInstanceError, asdict

import pytest

from steelyard.contract.accelerator import ArrayConfig
from steelyard.errors import UserError


def test_derived_sizes_follow_from_the_fields():
    config = ArrayConfig(lanes=16, columns=10, group=8, requantizers=4)
    assert config.macs_per_cycle == 160
    assert config.index_bits == 3
    assert config.weight_bits == 11
    assert config.weight_item_words == 4  # 110 bits
    assert config.activation_item_words == 4
    assert config.drain_beats == 4


@pytest.mark.parametrize("group, bits", [(4, 2), (8, 3), (16, 4), (32, 5)])
def test_an_index_addresses_every_weight_of_a_group(group, bits):
    assert ArrayConfig(group=group).index_bits == bits


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
        ArrayConfig(**{field: value})


@pytest.mark.parametrize("value", ["16", 16.0, True, None])
def test_a_field_must_be_an_integer(value):
    with pytest.raises(UserError, match="Configuration field 'columns' must be an integer, not "):
        ArrayConfig(columns=value)


def test_a_configuration_cannot_change():
    with pytest.raises(FrozenInstanceError):
        ArrayConfig().lanes = 8


def test_with_changes_and_validates():
    assert ArrayConfig().with_(columns=4).columns == 4
    with pytest.raises(UserError, match="'columns'"):
        ArrayConfig().with_(columns=0)


def test_the_hash_is_that_of_the_canonical_text():
    config = ArrayConfig(lanes=4, requantizers=2)
    text = config.canonical()
    assert text.startswith('{"accumulator_bits":24,"activation_words":4096,"columns":16,')
    assert config.hash() == hashlib.sha256(text.encode()).digest()


def test_every_field_changes_the_hash_and_is_named_as_a_difference():
    base = ArrayConfig()
    other = {
        "lanes": 8, "columns": 8, "group": 8, "requantizers": 4, "accumulator_bits": 20,
            "multiplier_stages": 3,
        "window_groups": 16, "activation_words": 2048, "weight_words": 2048,
        "parameter_words": 512, "partial_sum_channels": 256, "max_layers": 32,
        "max_side": 255, "padded_kernel": 5, "vector_bits": 8, "link_words": 256,
        "requantizer_cycles": 16,
    }  # fmt: skip
    assert set(other) == set(asdict(base))
    for field, value in other.items():
        changed = base.with_(**{field: value})
        assert changed.hash() != base.hash()
        assert base.differences(changed) == [f"{field}: {getattr(base, field)} != {value}"]
    assert base.differences(ArrayConfig()) == []


def test_toml_round_trip(tmp_path):
    config = ArrayConfig(lanes=8, columns=3, requantizers=2, max_layers=7)
    path = tmp_path / "array.toml"
    path.write_text("old")
    config.to_toml(path)
    assert ArrayConfig.from_toml(path) == config
    assert [entry.name for entry in tmp_path.iterdir()] == ["array.toml"]


def test_toml_fields_left_out_take_their_defaults(tmp_path):
    path = tmp_path / "array.toml"
    path.write_text("[array]\ncolumns = 4\n")
    assert ArrayConfig.from_toml(path) == ArrayConfig(columns=4)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("lanes = 16\n", "must hold one table '[array]', not ['lanes']"),
        ("[array]\n[other]\n", "must hold one table '[array]', not ['array', 'other']"),
        ("array = 3\n", "must hold one table '[array]'"),
        ("[array\n", "cannot be read as TOML"),
        ("[array]\nlane = 16\n", "has no field 'lane'; allowed are lanes, columns, "),
        ('[array]\nlanes = "16"\n', "field 'lanes' must be an integer, not '16'"),
        ("[array]\nlanes = 5\n", "field 'lanes' must be one of 4, 8, 16, 32, not 5"),
    ],
)
def test_a_bad_file_is_refused_with_a_sentence(tmp_path, text, sentence):
    path = tmp_path / "array.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(sentence)):
        ArrayConfig.from_toml(path)


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist; give the path of a TOML file"):
        ArrayConfig.from_toml(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read as TOML"):
        ArrayConfig.from_toml(tmp_path / "binary.toml")
    with pytest.raises(UserError, match="cannot be read as TOML"):
        ArrayConfig.from_toml(tmp_path)
