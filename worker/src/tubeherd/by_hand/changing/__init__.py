"""Kicks and deletes jobs by hand, and pauses tubes."""
