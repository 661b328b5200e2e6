"""DaisyCore: attention and its backends, block, feed-forward, rotary, KV cache."""
