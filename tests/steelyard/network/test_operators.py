"""Kinds that need an operator of the configuration: golden functions, files, lowering, refusals."""

import numpy as np
import pytest

from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.contract.descriptor import Descriptor, Operation
from steelyard.errors import UserError
from steelyard.network import Lookup, NetworkBuilder, from_arrays, golden, to_arrays

SHAPE = (3, 4, 5)
X = np.random.default_rng(2).integers(-128, 128, (2, *SHAPE)).astype(np.int8)
X.reshape(-1)[:2] = -128, 127
CONFIG = configure("array", lanes=4, columns=4)
TABLE = np.random.default_rng(3).integers(-128, 128, 256).astype(np.int8)


def network(*layers):
    """Network of layers, each a kind and its fields."""
    builder = NetworkBuilder("one", SHAPE, scale=0.5, zero_point=7)
    for kind, fields in layers:
        builder.append(kind, **fields)
    return builder.network()


def test_a_table_begins_with_the_result_of_the_lowest_code():
    found = golden.run(network((Lookup, {"table": TABLE, "scale": 0.25, "zero_point": -9})), X)
    assert found.tolist() == [
        [[[int(TABLE[code + 128]) for code in row] for row in plane] for plane in image]
        for image in X.tolist()
    ]


def test_files_keep_tables():
    made = network((Lookup, {"table": TABLE}))
    again = from_arrays(*to_arrays(made))
    assert np.array_equal(golden.run(again, X), golden.run(made, X))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"table": TABLE[:255]}, r"the table must be int8 \(256,\), not int8 \(255,\)"),
        ({"table": TABLE.astype(np.uint8)}, r"the table must be int8 \(256,\), not uint8 \(256,\)"),
        ({"table": TABLE, "lo": 0}, "lookup does not clamp, but lo and hi are 0, 127; clamp the"),
    ],
)
def test_what_is_no_table_is_refused(fields, words):
    with pytest.raises(UserError, match=words):
        network((Lookup, fields))


def test_a_table_lies_behind_the_items_of_its_layer():
    program = compile(network((Lookup, {"table": TABLE}), (Lookup, {"table": -1 - TABLE})), CONFIG)
    first, second = (Descriptor.from_words(words) for words in program.descriptors)
    assert first.op == second.op == Operation.MAX_POOL
    assert (first.param_base, first.table_base, first.table) == (0, 3, 1)
    assert (second.param_base, second.table_base, second.table) == (35, 38, 1)
    for base, table in ((3, TABLE), (38, -1 - TABLE)):
        entries = program.parameters[base : base + 32].astype("<u4").tobytes()
        assert entries == table.tobytes()
    assert len(program.parameters) == 70


def test_a_configuration_without_tables_refuses_them_by_the_fields_name():
    made = network((Lookup, {"name": "sigmoid", "table": TABLE}))
    with pytest.raises(UserError) as caught:
        compile(made, CONFIG.with_(tables=False))
    assert str(caught.value) == (
        "Layer 'sigmoid' looks up a table, which the configuration leaves out; set tables to true."
    )
    compile(made, CONFIG.with_(tables=True))
