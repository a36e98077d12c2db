"""Puts jobs by hand: one, many, or the lines of a file."""
