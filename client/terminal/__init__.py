"""The chat in a terminal: `python -m client.terminal`."""
