"""What `tubeherd run` finds out before the worker starts: which modules to import, and what the file of a pool says."""
