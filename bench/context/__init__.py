"""What stands in prompts: how much of it is found in the KV cache, and whether the evidence is in it."""
