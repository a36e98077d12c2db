"""One job in one process: find its executor, run it, say what came of it."""
