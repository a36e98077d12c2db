"""A slot: the process that runs jobs."""
