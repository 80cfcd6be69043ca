"""How fast is the inference service on one GPU, beside transformers on the same one?"""
