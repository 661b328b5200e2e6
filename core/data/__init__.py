"""Data: shards, tokenizers, preparation, and the facts a configuration needs of them. Never torch.

Start at `shards` (the file format), `dataset` (the folder), `tokenizers`, and `prepare`.
"""
