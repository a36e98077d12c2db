"""Looks at tubes and jobs by hand, without any change to them."""
