"""The steps from one shape of the registry's tables to the next."""
