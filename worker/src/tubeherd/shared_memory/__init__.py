"""What a slot and its supervisor share: the page and lock of each lane, and the slot's tally."""
