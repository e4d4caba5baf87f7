"""What is stored, and how it survives a crash: durable writes, tensors, locks, fingerprints, the run folder."""
