"""How fast the inference service is, beside what people would otherwise run.

Walk: `__main__` reads the command line, `run` goes round the contenders, `measures` says what is measured on one
that is served, `transformers_peer` on one in process; `bench.table` and `bench.plots` tell it.
"""
