"""Addresses of serial ports, and ports that cannot be had."""

import os

import pytest

from steelyard import driver
from steelyard.contract import configure
from steelyard.driver.serial import Address, SerialPort, open_transport


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/dev/ttyUSB0", Address(path="/dev/ttyUSB0")),
        ("COM3?baud=115200", Address(path="COM3", baud=115200)),
        ("/dev/x?retry=0.5&open=9", Address(path="/dev/x", retry=0.5, open=9)),
    ],
)
def test_addresses_are_understood(text, address):
    assert Address.parse(text) == address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The device 'serial' needs a port; write 'serial:/dev/ttyUSB0' with its name"),
        ("/dev/x?speed=9", "Serial port option 'speed' is unknown; use 'baud', 'retry' or 'open'"),
        ("/dev/x?baud=fast", "Serial port option 'baud' must be a positive number, not 'fast'"),
        ("/dev/x?retry=-1", "Serial port option 'retry' must be a positive number, not '-1'"),
    ],
)
def test_bad_addresses_are_refused(text, message):
    with pytest.raises(driver.BadAddress, match=message):
        Address.parse(text)


def test_a_missing_port_is_named():
    with pytest.raises(driver.NoSuchDevice, match="Serial port '/dev/none' cannot be opened at"):
        open_transport("/dev/none", configure("array"))


def test_a_port_in_use_is_named():
    master, slave = os.openpty()
    path = os.ttyname(slave)
    port = SerialPort(path, 115200)
    with pytest.raises(driver.DeviceBusy, match=f"{path}' is in use by another program"):
        SerialPort(path, 115200)
    port.close()
    SerialPort(path, 115200).close()
    os.close(slave)
    os.close(master)
