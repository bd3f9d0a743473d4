"""Shell around every engine: host port, sequencer, memories, weight fetch, layer registers."""
