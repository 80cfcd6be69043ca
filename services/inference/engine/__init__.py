"""What turns a prompt into a reply. Only this folder imports torch, and only where it is used.

`protocol` is the door; `native` runs a model in this process, `fake` answers from a script.
"""

import os

# Progress bars of libraries stay off the standard error that our log lines go to. tqdm reads this when it is first
# imported, so it is set before any module of ours imports a library that uses it.
os.environ.setdefault("TQDM_DISABLE", "1")
# How long a thread of torch's spins, waiting for the others, before it gives its CPU up. GNU OpenMP's own 300,000
# turns make a step many times slower as soon as other processes want a CPU too. Median decode steps of one stream on
# two CPUs that others kept busy, two runs: 664 and 894 ms with them, 266 and 269 ms with 30,000, 24 and 55 ms with
# this; the fastest steps: 19, 22 and 23 ms. Read when torch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
