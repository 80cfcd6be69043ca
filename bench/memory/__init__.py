"""Measures the memory service: does search find the evidence, and how fast is it.

`python -m bench.memory --help` lists what can be chosen.
"""
