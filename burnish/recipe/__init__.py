"""The file that says what to do: its shape, how it is read, its contradictions."""
