"""An embedder in a process of its own: the two sides, and what passes between them."""
