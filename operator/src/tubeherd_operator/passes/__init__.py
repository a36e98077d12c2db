"""The passes over pools: which pool is next, what is seen of it, and what is done."""
