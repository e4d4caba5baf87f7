"""Which weights learn, and how they are saved and merged. One file per method; `build.METHODS` is the registration."""
