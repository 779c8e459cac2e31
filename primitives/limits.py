"""Every bound of the node in one place: no queue, loop, cache or decoder grows past a number named here.

Sizes are bytes, times are milliseconds unless the name says otherwise.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB

# --- numbers
MAX_AMOUNT = 2**63 - 1
MAX_HEIGHT = 2**63 - 1
MAX_ROUND = 2**31 - 1
MAX_TIMESTAMP_MS = 2**53 - 1

# --- transactions
MAX_TRANSACTION_BYTES = 256 * KIB
MAX_INPUTS = 1024
MAX_OUTPUTS = 1024
MAX_NOTE_BYTES = 256
MAX_REFERENCE_BYTES = 64
MAX_ASSET_NAME_BYTES = 64
MAX_PAYLOAD_BYTES = 32 * KIB
MAX_SIGNATURES = 1024
MAX_CONDITIONS = 1024
MAX_PREIMAGES = 64
MAX_PREIMAGE_BYTES = 64
MAX_CONDITION_DEPTH = 4
MAX_CONDITION_LEAVES = 16
MAX_NESTING_DEPTH = 16

# --- blocks (hard bounds; the genesis sets the network's own, lower ones)
MAX_BLOCK_BYTES = 16 * MIB
MAX_BLOCK_TRANSACTIONS = 65_536
MAX_BLOCK_SIGNATURES = 131_072
MAX_HEADER_BYTES = 512

# --- validators and consensus
MAX_VALIDATORS = 256
MAX_CERTIFICATE_BYTES = 64 * KIB
MAX_CONSENSUS_MESSAGE_BYTES = 4 * MIB
MAX_ROUND_TIMEOUT_MS = 30_000
