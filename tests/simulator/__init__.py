"""A deterministic world for the consensus engine: own scheduler, seeded faults, villains, own oracle."""
