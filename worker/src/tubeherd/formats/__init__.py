"""The formats of what people write (durations, sizes, addresses, names of tubes), and the share of a memory limit."""
