"""The command line: parse, call lifecycle, print. No numerics, no rules."""
