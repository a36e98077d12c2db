"""The API server's side: requests to it, and the watches by which it reports changes."""
