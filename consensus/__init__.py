"""QBFT as a sans-IO state machine: `QbftCore.step(input) -> ordered effects`.

The engine knows blocks by header and id only. It never reads a clock, a disk, a key or the network: all of
that arrives as an input, and all it wants done leaves as an effect. The same inputs give the same bytes.
Rules: docs/consensus.md. Bytes: docs/encodings-consensus.md.
"""
