"""The subcommands of the command `tubeherd`: a module for each, with a function of the same name.

`cli` imports only the module of the subcommand that is called. A module imports what takes long in its function, so
that help and errors about options are shown without it.
"""
