"""Runs a command that ends when whoever wanted it does, even killed: ``guard.py COMMAND ...``.

Whoever wants it holds the other end of this process's input. Run by its path: it imports nothing of
this package, and so starts at once.
"""

import os
import signal
import subprocess
import sys
import threading


def main() -> None:
    """Run the command of the command line, and end as it ends."""
    # The command inherits that it takes no notice of an interrupt at the terminal; it is ended.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, frame: process.kill())

    def end() -> None:
        os.read(0, 1)
        process.kill()

    threading.Thread(target=end, daemon=True).start()
    status = process.wait()
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    # Without waiting for the thread, which reads.
    os._exit(status)


if __name__ == "__main__":
    main()
