"""The bundled network and its images as a user's own would be: files for the commands.

    python experiments/demo_files.py FOLDER

writes int8.onnx (dense, quantized with the 1,000 calibration images), images.npy and labels.npy
(the 1,000 bundled test images and their classes) and calibration.npy (100 calibration images).
"""

import sys
from pathlib import Path

import numpy as np

from steelyard import zoo
from steelyard.quantize import quantize

CALIBRATION = 100


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    sample = zoo.sample()
    quantize(zoo.load(), sample.calibration_input, folder / "int8.onnx")
    np.save(folder / "images.npy", sample.test_input)
    np.save(folder / "labels.npy", sample.test_labels)
    np.save(folder / "calibration.npy", sample.calibration_input[:CALIBRATION])


if __name__ == "__main__":
    main()
