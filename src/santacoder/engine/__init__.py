"""The forward pass: weights, KV cache, operations and the threads that run them."""
