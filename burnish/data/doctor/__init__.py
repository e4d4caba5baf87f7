"""The data doctor: what is wrong with rows that can be read, and what to do about it."""
