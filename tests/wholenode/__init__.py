"""Whole nodes in one process under a simulated clock, network and disk: see docs/node.md, "Simulation"."""
