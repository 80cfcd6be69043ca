"""The decode step, compiled for the processor it runs on."""
