"""Checks of a data set: small functions, each of which looks for one kind of fault and yields what it finds."""
