"""Burial records: why each buried job was buried, kept beside the queue in a tube of Tubeherd's own."""
