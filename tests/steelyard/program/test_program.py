"""Program file: round trip, equal bytes, and every way in which a file is refused."""

import hashlib
import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.errors import FileRefused, UserError
from steelyard.network import golden
from steelyard.network.random import random_input, random_network
from steelyard.program import (
    FORMAT_VERSION,
    HostPart,
    Program,
    pack_activations,
    unpack_activations,
)
from steelyard.program.archive import read_sealed, write_sealed

CONFIG = configure("array", lanes=8, columns=4, group=8, window_groups=8, weight_words=1 << 14)
KINDS = ("conv", "add", "max_pool", "avg_pool", "fc")


@pytest.fixture(scope="module")
def program() -> Program:
    network = random_network(3, kinds=KINDS, layers=5, max_pixels=24, max_channels=6, group=8)
    return compile(network, CONFIG, batch=2)


@pytest.fixture(scope="module")
def saved(program, tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("program") / "net.syp"
    program.save(path)
    return path.read_bytes()


def refusal(path) -> str:
    with pytest.raises(FileRefused) as error:
        Program.load(path)
    return str(error.value)


def test_load_returns_what_was_saved(program, tmp_path):
    path = tmp_path / "net.syp"
    program.save(path)
    loaded = Program.load(path)
    for name in ("config", "batch", "input", "layers", "output", "uses"):
        assert getattr(loaded, name) == getattr(program, name)
    for name in ("descriptors", "parameters", "weights"):
        assert getattr(loaded, name).dtype == np.uint32
        assert np.array_equal(getattr(loaded, name), getattr(program, name))
    x = random_input(program.network, 3, 1)
    assert np.array_equal(golden.run(loaded.network, x), golden.run(program.network, x))


def test_equal_programs_are_equal_bytes(program, saved, tmp_path):
    first, second = tmp_path / "a.syp", tmp_path / "b.syp"
    program.save(first)
    Program.load(first).save(second)
    assert first.read_bytes() == second.read_bytes() == saved


def test_save_replaces_a_file_and_leaves_nothing_behind(program, tmp_path):
    path = tmp_path / "net.syp"
    path.write_bytes(b"old")
    program.save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.syp"]
    assert Program.load(path).batch == 2


def test_save_below_a_file_is_the_users_mistake_and_leaves_nothing(program, tmp_path):
    (tmp_path / "taken").write_text("kept")
    with pytest.raises(UserError, match="net.syp. cannot be written .File exists.; give"):
        program.save(tmp_path / "taken" / "net.syp")
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]


def test_a_missing_file_is_refused(tmp_path):
    assert "cannot be read (No such file or directory)" in refusal(tmp_path / "none.syp")


@pytest.mark.parametrize("content", [b"", b"PK", b"hello" * 100, b"\x93NUMPY" + bytes(200)])
def test_other_files_are_refused(content, tmp_path):
    path = tmp_path / "other.syp"
    path.write_bytes(content)
    assert refusal(path) == f"File {str(path)!r} is not a Steelyard program; give a .syp file."


def test_another_zip_is_refused(tmp_path):
    path = tmp_path / "other.syp"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a" * 500)
    assert "is truncated, altered or no Steelyard program" in refusal(path)


def test_every_truncation_is_refused(saved, tmp_path):
    path = tmp_path / "short.syp"
    for size in {0, 3, 4, 50, 81, 82, *range(100, len(saved), 997), len(saved) - 1}:
        path.write_bytes(saved[:size])
        refusal(path)


def test_a_flipped_bit_is_refused_wherever_it_is(saved, tmp_path):
    path = tmp_path / "flipped.syp"
    rng = np.random.default_rng(1)
    tail = range(len(saved) - 120, len(saved))
    for position in [*range(64), *rng.integers(0, len(saved), 300).tolist(), *tail]:
        altered = bytearray(saved)
        altered[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(altered)
        refusal(path)


def test_appended_bytes_are_refused(saved, tmp_path):
    path = tmp_path / "long.syp"
    path.write_bytes(saved + b"\0")
    refusal(path)


def forged(path, saved: bytes, *, manifest=None, arrays=None) -> None:
    """Write the saved program with changes, sealed as if it were genuine."""
    source = path.with_suffix(".source")
    source.write_bytes(saved)
    old_manifest, old_arrays = read_sealed(source, "steelyard-program", FORMAT_VERSION)
    if manifest:
        manifest(old_manifest)
    if arrays:
        arrays(old_arrays)
    write_sealed(path, old_manifest, old_arrays)


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_an_older_format_says_so(saved, tmp_path, version):
    path = tmp_path / "old.syp"
    forged(path, saved, manifest=lambda m: m.update(version=version))
    assert refusal(path) == (
        f"Program '{path}' has format version {version} and this Steelyard reads only "
        f"{FORMAT_VERSION}; compile the network anew."
    )


def test_a_newer_format_says_so(saved, tmp_path):
    path = tmp_path / "new.syp"
    forged(path, saved, manifest=lambda m: m.update(version=FORMAT_VERSION + 1))
    assert refusal(path) == (
        f"Program {str(path)!r} has format version {FORMAT_VERSION + 1} and this "
        f"Steelyard reads only {FORMAT_VERSION}; "
        "update Steelyard or compile the network anew."
    )


@pytest.mark.parametrize("version", [0, -1, "1", None])
def test_a_bad_version_is_refused(version, saved, tmp_path):
    path = tmp_path / "bad.syp"
    forged(path, saved, manifest=lambda m: m.update(version=version))
    assert f"has the bad format version {version!r}" in refusal(path)


def test_another_format_is_refused(saved, tmp_path):
    path = tmp_path / "other.syp"
    forged(path, saved, manifest=lambda m: m.update(format="weights"))
    assert "is not a Steelyard program" in refusal(path)


@pytest.fixture(scope="module")
def host(program) -> HostPart:
    values = program.network.outputs
    return HostPart(b"an ONNX file", values, ("prob", "best"), ("Mul", "Softmax"))


def test_a_part_for_the_host_is_kept(program, host, tmp_path):
    path = tmp_path / "host.syp"
    replace(program, host=host).save(path)
    loaded = Program.load(path)
    assert loaded.host == host
    assert host.title == f"Mul and Softmax of {program.network.output!r}"
    three = replace(host, values=("a", "b", "c"), operators=("Concat",))
    assert three.title == "Concat of 'a', 'b' and 'c'"
    program.save(path)
    assert Program.load(path).host is None


@pytest.mark.parametrize(
    ("manifest", "arrays", "words"),
    [
        (lambda m: m.update(host=None), None, "disagree on a part for the host"),
        (None, lambda a: a.pop("host"), "disagree on a part for the host"),
        (lambda m: m.pop("host"), None, "'host' is missing"),
        (lambda m: m["host"].update(operators=[]), None, "no operators"),
        (lambda m: m["host"].update(operators="Softmax"), None, "no operators"),
        (lambda m: m["host"].pop("values"), None, "'values' is missing"),
        (lambda m: m["host"].update(values=[]), None, "no values"),
        (lambda m: m["host"].update(outputs=[]), None, "no outputs"),
        (lambda m: m["host"].update(values=["none"]), None, "reads what is no output"),
        (lambda m: m.update(host=5), None, "is damaged"),
        (None, lambda a: a.update(host=a["host"].astype(np.int8)), "must be uint8 (n,)"),
        (None, lambda a: a.update(host=a["host"][:0]), "must be uint8 (n,)"),
    ],
)
def test_a_damaged_part_for_the_host_is_refused(program, host, tmp_path, manifest, arrays, words):
    replace(program, host=host).save(tmp_path / "host.syp")
    path = tmp_path / "changed.syp"
    forged(path, (tmp_path / "host.syp").read_bytes(), manifest=manifest, arrays=arrays)
    assert words in refusal(path)


@pytest.mark.parametrize("name", ["descriptors", "parameters", "weights"])
def test_a_missing_array_is_named(name, saved, tmp_path):
    path = tmp_path / "less.syp"
    forged(path, saved, arrays=lambda a: a.pop(name))
    assert (
        refusal(path) == f"Program {str(path)!r} is damaged: {name!r} is missing; compile it anew."
    )


def test_a_missing_network_array_is_refused(saved, tmp_path):
    path = tmp_path / "less.syp"

    def drop(arrays):
        arrays.pop(next(key for key in arrays if key.startswith("network/")))

    forged(path, saved, arrays=drop)
    refusal(path)


@pytest.mark.parametrize("name", ["descriptors", "parameters", "weights"])
@pytest.mark.parametrize("dtype", ["int32", "uint64", "float32", "U4"])
def test_a_wrong_dtype_is_named(name, dtype, saved, tmp_path):
    path = tmp_path / "typed.syp"
    forged(path, saved, arrays=lambda a: a.update({name: a[name].astype(dtype)}))
    assert f"array {name!r} must be uint32 (n, " in refusal(path)


def test_object_arrays_are_never_unpickled(saved, tmp_path):
    path = tmp_path / "pickle.syp"
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], object), allow_pickle=True)
    members = rezip(saved, {"weights.npy": buffer.getvalue()})
    path.write_bytes(members)
    assert "array 'weights': its items are object in place of numbers" in refusal(path)


def rezip(
    saved: bytes, changes: dict[str, bytes], compression=zipfile.ZIP_STORED, drop=()
) -> bytes:
    """The saved zip with other members, with right hashes everywhere."""
    with zipfile.ZipFile(io.BytesIO(saved)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members = {name: data for name, data in (members | changes).items() if name not in drop}
    if "manifest.json" not in changes and "manifest.json" in members:
        manifest = json.loads(members["manifest.json"])
        for name in manifest["arrays"]:
            data = members.get(f"{name}.npy", b"")
            manifest["arrays"][name] = hashlib.sha256(data).hexdigest()
        members["manifest.json"] = json.dumps(manifest).encode()
    return sealed_zip(members, compression)


def sealed_zip(members: dict[str, bytes], compression=zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.comment = b"steelyard-sha256:" + b"0" * 64
        for name, data in members.items():
            archive.writestr(name, data)
    body = buffer.getvalue()[:-64]
    return body + hashlib.sha256(body).hexdigest().encode()


def test_an_array_that_is_not_the_manifests_is_named(saved, tmp_path):
    path = tmp_path / "swapped.syp"
    with zipfile.ZipFile(io.BytesIO(saved)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["weights.npy"] = members["weights.npy"][:-1] + b"\x55"
    path.write_bytes(sealed_zip(members))
    assert "the SHA-256 of array 'weights' does not match" in refusal(path)


def test_a_zip_bomb_is_refused_unread(saved, tmp_path):
    path = tmp_path / "bomb.syp"
    path.write_bytes(rezip(saved, {"weights.npy": bytes(1 << 24)}, zipfile.ZIP_DEFLATED))
    assert path.stat().st_size < 1 << 20
    assert "is compressed" in refusal(path)


@pytest.mark.parametrize("shape", ["(1000000000000, 2)", "(-1, 2)", "(1, 2)", "'x'"])
def test_an_absurd_array_header_is_refused(shape, saved, tmp_path):
    path = tmp_path / "huge.syp"
    header = f"{{'descr': '<u4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(16)
    path.write_bytes(rezip(saved, {"weights.npy": data}))
    assert "is damaged" in refusal(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"manifest.json": b"not json"},
        {"manifest.json": b"[" * 100_000},
        {"manifest.json": b"\xff\xfe"},
        {"extra.npy": b"123"},
        {"weights.npy": b""},
        {"weights.npy": b"\x93NUMPY\x03\x00"},
    ],
)
def test_malformed_members_are_refused(changes, saved, tmp_path):
    path = tmp_path / "odd.syp"
    path.write_bytes(rezip(saved, changes))
    assert "is damaged" in refusal(path)


def test_a_zip_without_manifest_is_refused(saved, tmp_path):
    path = tmp_path / "bare.syp"
    path.write_bytes(rezip(saved, {}, drop=("manifest.json",)))
    assert "is damaged" in refusal(path)


@pytest.mark.parametrize("key", ["config", "config_sha256", "batch", "input", "layers", "network"])
@pytest.mark.parametrize("value", [None, -1, "x", [], {}, [1], [{}], {"base": 0}])
def test_malformed_manifest_entries_are_refused(key, value, saved, tmp_path):
    path = tmp_path / "odd.syp"
    forged(path, saved, manifest=lambda m: m.update({key: value}))
    refusal(path)


@pytest.mark.parametrize("key", ["config", "config_sha256", "batch", "input", "layers", "network"])
def test_missing_manifest_entries_are_refused(key, saved, tmp_path):
    path = tmp_path / "odd.syp"
    forged(path, saved, manifest=lambda m: m.pop(key))
    assert f"{key!r} is missing" in refusal(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m["layers"].pop(), "its layer table is not that of its network"),
        (lambda m: m["layers"][1].update(first=0), "has no descriptors of its own"),
        (lambda m: m["layers"][-1].update(count=2), "its layers use"),
        (lambda m: m["layers"][0].update(nnz="many"), "nnz must be an integer of at least 0"),
        (lambda m: m["layers"][0].update(predicted_cycles=1 << 70), "predicted_cycles must be an"),
        (lambda m: m["input"].update(base=1 << 20), "lies outside the activation memory"),
        (lambda m: m["input"].update(pitch=99), "does not match its shape"),
        (lambda m: m.update(batch=17), "does not match its shape"),
        (lambda m: m["config"]["engine"].update(lanes=5), "'lanes' must be one of 4, 8, 16, 32"),
        (
            lambda m: m["config"]["engine"].update(lanes=16),
            "its configuration does not match its hash",
        ),
        (lambda m: m["config"]["engine"].update(colour=1), "Configuration has no field 'colour'"),
    ],
)
def test_contradictions_are_named(change, reason, saved, tmp_path):
    path = tmp_path / "odd.syp"
    forged(path, saved, manifest=change)
    assert reason in refusal(path)


def test_more_items_than_the_memory_holds_are_refused(program, saved, tmp_path):
    path = tmp_path / "big.syp"
    many = np.zeros((CONFIG.memory.parameter_words + 1, 3), np.uint32)
    forged(path, saved, arrays=lambda a: a.update(parameters=many))
    assert "array 'parameters' has 1025 items where 1024 fit" in refusal(path)


def test_the_manifest_can_be_read_by_people(saved):
    with zipfile.ZipFile(io.BytesIO(saved)) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["format"] == "steelyard-program"
    assert manifest["config"] == CONFIG.values()
    assert manifest["config_sha256"] == CONFIG.hash().hex()
    assert {"name", "kind", "k", "nnz", "predicted_cycles"} <= set(manifest["layers"][0])


def test_planes_put_images_innermost_and_lane_0_lowest():
    x = np.arange(2 * 1 * 1 * 3, dtype=np.int8).reshape(2, 1, 1, 3)
    # Pixels in order: x0 image 0, x0 image 1, x1 image 0, ...
    words = pack_activations(x, 4)
    assert [f"{word:08x}" for word in words.tolist()] == ["04010300", "00000502"]


@pytest.mark.parametrize("lanes", [4, 8, 16, 32])
@pytest.mark.parametrize("batch", [1, 3])
def test_planes_round_trip(lanes, batch):
    x = np.random.default_rng(lanes).integers(-128, 128, (batch, 5, 3, 7)).astype(np.int8)
    words = pack_activations(x, lanes)
    assert words.dtype == np.uint32
    assert len(words) == 5 * -(-21 * batch // lanes) * lanes // 4
    back = unpack_activations(words, (5, 3, 7), batch, lanes)
    assert np.array_equal(back, x)
    words[:] = 0
    assert np.array_equal(back, x)


@pytest.mark.parametrize(
    "x", [np.zeros((1, 2, 3, 3), np.int8), np.zeros((2, 2, 3, 3)), np.zeros((2, 9), np.int8)]
)
def test_a_program_packs_only_its_batch(x, program):
    with pytest.raises(UserError, match="fill a short batch by repeating its last image"):
        program.pack_activations(x)
