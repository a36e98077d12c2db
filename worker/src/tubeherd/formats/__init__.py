"""What people write: durations, sizes, names of tubes, and a memory limit divided among slots."""
