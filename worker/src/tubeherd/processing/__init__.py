"""Processes one job in one process: finds its executor, calls it, decides on the verdict and reports it."""
