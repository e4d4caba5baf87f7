"""The only place that joins rooms: what the commands do."""
