"""The HTTP face: parses requests, calls lifecycle, answers in the words of the public protocol."""
