"""All that the operator decides, in pure functions: no clock, no network, no thread."""
