"""A sentence encoder's layers, compiled for the processor they run on."""
