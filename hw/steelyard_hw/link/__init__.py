"""Serial link: frames with CRC and COBS around the host port, for boards with a UART."""
