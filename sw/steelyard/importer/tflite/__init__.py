"""TFLite files of int8 networks, read as integer networks.

`file` reads the tables by the schema package's definitions, `walk` hands each operator to the
function in `operators` that the `registry` has for it, and keeps all that stands in the way.
"""

from steelyard.importer.tflite.loader import is_tflite, load_tflite, tflite_name

__all__ = ["is_tflite", "load_tflite", "tflite_name"]
