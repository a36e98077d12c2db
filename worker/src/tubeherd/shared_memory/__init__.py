"""What a slot and its supervisor share: the page and lock of each lane, the slot's tally, and messages."""
