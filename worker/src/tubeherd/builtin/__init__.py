"""Built-in executors, which do a tube's jobs without any Python of the user: by a command, or over HTTP."""
