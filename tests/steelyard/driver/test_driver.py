"""Driver against an accelerator that is emulated in memory behind the transport."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from emulated import CONFIG, Emulator, opened
from steelyard import driver
from steelyard.compile import compile
from steelyard.compile.cycles import predict_program, run_cycles
from steelyard.contract.registers import Space
from steelyard.driver import port as port_module
from steelyard.driver.port import HostPort
from steelyard.driver.serial import SerialTransport
from steelyard.errors import UserError
from steelyard.network import golden
from steelyard.network.random import random_input, random_network
from steelyard.program import Program


@pytest.fixture(scope="module")
def program() -> Program:
    return compile(random_network(3, layers=5, max_channels=12), CONFIG, batch=3)


def test_inference_equals_golden_model_with_a_short_last_batch(program):
    x = random_input(program.network, 7, 0)
    emulator = Emulator(program)
    seen = []
    with opened(emulator) as device:
        device.load(program)
        y = device.infer(x, progress=lambda *step: seen.append(step))
        assert device.cycles == 1234
    np.testing.assert_array_equal(y, golden.run(program.network, x))
    assert seen == [(3, 7, "images"), (6, 7, "images"), (7, 7, "images")]
    assert emulator.starts == [(0, len(program.descriptors))] * 3
    assert emulator.closed == 1


def test_a_check_neither_loads_again_nor_looks_twice_at_the_images(program, monkeypatch):
    x = random_input(program.network, 7, 0)
    emulator = Emulator(program)
    loads, looks = [], []
    with opened(emulator) as device:
        original = device._load
        monkeypatch.setattr(device, "_load", lambda *a: loads.append(a[0]) or original(*a))
        look = device.check_input
        monkeypatch.setattr(device, "check_input", lambda x: looks.append(len(x)) or look(x))
        device.load(program)
        device.infer(x)
        assert looks == [7]
        assert driver.check_layers(program, x, device) is None
        assert looks == [7, 7]
        assert driver.check(program, x, device) is None
        assert loads == [program]
        # Another program, or a device that was closed, is loaded.
        other = compile(program.network, CONFIG, batch=3)
        assert driver.check(other, x[:3], device) is None
        device.close()
        assert driver.check(other, x[:3], device) is None
        assert loads == [program, other, other]


class Paced(Emulator):
    """Emulator that is told how long its runs may take."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.told: list[tuple[int, int]] = []
        self.timeouts: list[float] = []

    @contextmanager
    def expecting(self, cycles, words):
        self.told.append((cycles, words))
        yield 12.5

    def read(self, count, timeout):
        self.timeouts.append(timeout)
        return super().read(count, timeout)


@pytest.mark.parametrize(
    ("timeout", "usual", "run"), [(None, 600, 12.5), (5, 5, 5), (50, 50, 12.5)]
)
def test_a_run_may_take_twice_its_predicted_cycles(program, timeout, usual, run):
    emulator = Paced(program)
    with opened(emulator, timeout=timeout) as device:
        device.load(program)
        assert set(emulator.timeouts) == {usual}
        device.infer(random_input(program.network, 3, 0))
        assert emulator.timeouts[-1] == run
        words = program.output.words * CONFIG.activation_item_words
        assert emulator.told == [(2 * predict_program(program) + 100_000, words)]
        emulator.hangs = True
        with pytest.raises(driver.DeviceTimeout, match="no answer It was to run layer .*takes"):
            device.run_layers(1, 1)
        assert emulator.told[1:] == [
            (2 * run_cycles(program.layers[1:2], program.config) + 100_000, 0)
        ]


def test_a_board_may_take_the_time_of_its_clock_and_of_its_line():
    board = SimpleNamespace(clock_hz=50_000_000, _baud=3_000_000)
    with SerialTransport.expecting(board, 100_000_000, 75_000) as seconds:
        assert seconds == 30 + 2 + 2 * 75_000 * 40 / 3_000_000
    board.clock_hz = 0
    with SerialTransport.expecting(board, 100_000_000, 0) as seconds:
        assert seconds == 30 + 100


class Posting(Emulator):
    """Emulator that answers later, and loses the answers of some inferences for good."""

    lost: frozenset[int] = frozenset()
    posts = 0

    def post(self, words, count, timeout):
        head = 3 + int(words[2])
        for part in (words[:head], words[head : head + 3], words[head + 3 :]):
            self.write(part, timeout)
        self.posts += 1
        answer = self.read(count, timeout)
        return None if self.posts in self.lost else answer

    def fetch(self, posted, timeout):
        return posted


@pytest.mark.parametrize("lost", [(), (1,), (2,), (3,), (1, 3)])
def test_batches_are_posted_ahead_and_run_again_where_an_answer_was_lost(program, lost):
    x = random_input(program.network, 7, 0)
    emulator = Posting(program)
    emulator.lost = frozenset(lost)
    seen = []
    with opened(emulator) as device:
        device.load(program)
        y = device.infer(x, progress=lambda done, total, _: seen.append(total))
        assert device.cycles == 1234
    np.testing.assert_array_equal(y, golden.run(program.network, x))
    assert emulator.posts == 3
    assert seen == [7, 7, 7]
    assert len(emulator.starts) == 3 + len(lost)


def test_loading_can_read_everything_back(program):
    emulator = Emulator(program)
    with opened(emulator) as device:
        device.load(program, verify=True)
        original = emulator.write

        def write(words, timeout):
            original(words, timeout)
            emulator.memory[Space.WEIGHTS][1, 0] = 0x5555

        emulator.write = write
        with pytest.raises(
            driver.MemoryFault, match="1 of [0-9]+ words of the weights differ, the first is word 2"
        ):
            device.load(program, verify=True)
        with pytest.raises(UserError, match="has no program"):
            device.verify()


def test_golden_device_has_the_same_answers(program):
    network = program.network
    x = random_input(network, 7, 0)
    with driver.open("golden") as device:
        device.load(program)
        np.testing.assert_array_equal(device.infer(x), golden.run(network, x))
        device.write_input(x[:3])
        device.run_layers(0, 2)
        expected = golden.run(network, x[:3], trace=True)
        np.testing.assert_array_equal(device.read_tensor(1), expected[network.layers[1].output])
        assert device.cycles is None
        assert device.counters() == []
        assert driver.check_layers(program, x, device) is None


def test_real_units_are_quantized_on_the_way_in_and_out(program):
    network = program.network
    tensor, output = network.tensor(network.input), network.tensor(network.output)
    x = random_input(network, 2, 1)
    with opened(Emulator(program)) as device:
        device.load(program)
        y = device.infer_float(tensor.dequantize(x).astype(np.float64))
    assert y.dtype == np.float32
    expected = output.dequantize(golden.run(network, x))
    assert expected.shape[2:] == (1, 1)
    np.testing.assert_array_equal(y, expected[:, :, 0, 0])


def test_counters_are_summed_over_the_descriptors_of_a_layer(program):
    with opened(Emulator(program)) as device:
        device.load(program)
        assert device.counters() == []
        assert device.cycles is None
        device.write_input(random_input(program.network, 3, 0))
        device.run_layers(0, 2)
        counters = device.counters()
    assert [each.name for each in counters] == [entry.name for entry in program.layers[:2]]
    entry = program.layers[1]
    assert counters[1].cycles == entry.count * (100 + entry.first)
    assert counters[1].vector_operations == entry.count * (800 + entry.first)


def test_check_finds_no_difference_in_an_equal_device(program):
    x = random_input(program.network, 5, 2)
    with opened(Emulator(program)) as device:
        assert driver.check(program, x, device) is None
        assert driver.check_layers(program, x, device) is None


@pytest.mark.parametrize("function", [driver.check, driver.check_layers])
def test_check_names_layer_and_element(program, function):
    network = program.network
    x = random_input(network, 5, 2)
    layer = network.layers[-1]
    _, height, width = network.tensor(layer.output).shape
    place = (1, 2, height - 1, width - 1)
    corrupt = {(layer.name, True): place, (layer.name, False): place}
    with opened(Emulator(program, corrupt=corrupt)) as device:
        found = function(program, x, device)
    assert found is not None
    assert (found.layer, found.image, found.channel) == (layer.name, 1, 2)
    assert (found.row, found.column) == (height - 1, width - 1)
    assert found.expected == found.actual ^ 1
    assert found.differing == 1
    assert str(found).startswith(f"layer {layer.name!r}, image 1, channel 2, row {height - 1}")


def test_check_finds_a_difference_that_single_layers_do_not_show(program):
    network = program.network
    layer = network.layers[-1]
    corrupt = {(layer.name, False): (0, 0, 0, 0)}
    with opened(Emulator(program, corrupt=corrupt)) as device:
        found = driver.check(program, random_input(network, 3, 2), device)
    assert found is not None
    assert (found.layer, found.image) == (layer.name, 0)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((1, 1, 1, 1), np.float32), "Images must be int8 codes, not float32; use infer"),
        (np.zeros((1, 99, 2, 2), np.int8), r"Images must have the shape \(images, .*, not \(1, 99"),
        (np.zeros((3,), np.int8), r"Images must have the shape .*, not \(3,\)"),
    ],
)
def test_bad_images_are_refused(program, x, message):
    with opened(Emulator(program)) as device:
        device.load(program)
        with pytest.raises(driver.BadInput, match=message):
            device.infer(x)


def test_no_images_are_refused(program):
    x = random_input(program.network, 2, 0)[:0]
    with driver.open("golden") as device:
        device.load(program)
        with pytest.raises(driver.BadInput, match="the array holds none; give at least one"):
            device.infer(x)


def test_bad_real_images_are_refused(program):
    shape = (1, *program.input.shape)
    with driver.open("golden") as device:
        device.load(program)
        with pytest.raises(driver.BadInput, match="must be floating point, not int8"):
            device.infer_float(np.zeros(shape, np.int8))
        with pytest.raises(driver.BadInput, match="Images hold NaN or infinite"):
            device.infer_float(np.full(shape, np.nan, np.float32))


def test_a_device_without_program_says_so():
    with (
        driver.open("golden") as device,
        pytest.raises(UserError, match="has no program; call load"),
    ):
        device.infer(np.zeros((1, 1, 1, 1), np.int8))


def test_another_configuration_is_refused_with_the_fields_that_differ(program):
    other = CONFIG.with_(columns=8, window_groups=64)
    device = driver.ArrayDevice("emulated", lambda *_: Emulator(program, other), config=other)
    expected = "window_groups: 32 != 64; columns: 4 != 8 .program != device.; compile it for this"
    with device, pytest.raises(driver.ConfigurationMismatch, match=expected):
        device.load(program)


def test_another_configuration_that_the_host_does_not_know_is_refused(program):
    emulator = Emulator(program, CONFIG.with_(columns=8))
    expected = f"hash {CONFIG.hash().hex()[:16]} != "
    with opened(emulator) as device, pytest.raises(driver.ConfigurationMismatch, match=expected):
        device.load(program)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"magic": 0x1234}, "answers 0x00001234 where an accelerator answers 0x594c5453"),
        ({"version": 1}, "has version 1 and this driver speaks version 4"),
    ],
)
def test_what_is_no_accelerator_is_refused(program, change, message):
    device = opened(Emulator(program, **change))
    with device, pytest.raises(driver.WrongDevice, match=message):
        device.load(program)


def test_a_silent_device_times_out(program):
    with opened(Emulator(program, hangs=True)) as device, pytest.raises(TimeoutError):
        device.load(program)


def test_a_run_that_never_ends_times_out(program, monkeypatch):
    clock = iter(range(1000))
    time = SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda seconds: None)
    monkeypatch.setattr(port_module, "time", time)
    emulator = Emulator(program)
    monkeypatch.setattr(emulator, "_start", lambda first, count: None)
    port = HostPort(emulator, timeout=5)
    with pytest.raises(driver.DeviceTimeout, match="Descriptors 2 to 4 were not done in 5 seconds"):
        port.run(2, 3)


def test_a_closed_device_asks_to_load_again(program):
    device = opened(Emulator(program))
    device.load(program)
    device.close()
    device.close()
    with pytest.raises(UserError, match="Device 'emulated' is closed; load the program again"):
        device.read_output()


def test_unknown_devices_are_refused_with_the_known_ones():
    with pytest.raises(driver.NoSuchDevice, match=r"no device 'toaster'; use one of golden.*sim"):
        driver.open("toaster")


def test_a_program_of_another_configuration_opens_another_simulation(program):
    configurations = []

    def factory(address, config, log):
        configurations.append(config)
        return Emulator(program, config)

    other = compile(program.network, CONFIG.with_(columns=8), batch=3)
    with driver.ArrayDevice("emulated", factory) as device:
        device.load(program)
        device.load(program)
        device.load(other)
    assert configurations == [CONFIG, other.config]
