"""The supervisor: the worker's first process, which starts the slots and holds their leases."""
