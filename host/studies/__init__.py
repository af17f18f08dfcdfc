"""Studies of the architecture: each measures, draws, and fills in the tables of its document."""
