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

# --- storage
DB_CACHE_BYTES = 64 * MIB  # LevelDB's block cache
DB_WRITE_BUFFER_BYTES = 8 * MIB  # small enough to stay in the processor's cache: 0.5 µs a sorted row, 1.3 at 64 MiB
DB_BLOOM_BITS = 10
DB_MAX_OPEN_FILES = 512
BODIES_PER_CHUNK = 32  # transactions in one row of block bodies: what reading one transaction has to decode
MAX_LOCK_BYTES = 4 * MIB  # a lock's header, wtxids and prepared certificate
MAX_JOURNAL_BYTES = 16 * MIB
JOURNAL_ROTATE_BYTES = 256 * KIB  # a decided height rotates a journal longer than this
WATERMARK_SLOT_BYTES = 128 * KIB
DISK_FLOOR_BYTES = 256 * MIB  # less free space than this: stop
DISK_LOW_BYTES = 512 * MIB  # less free space than this: stop proposing
DISK_RESERVE_BYTES = 64 * MIB
MAX_PAGE_ITEMS = 1000  # rows in one page of a query
HOT_SET_SHARDS = 4096

# --- state tree
TREE_ARITY = 16
BUCKET_ENTRIES = 64  # a bucket with more entries is split
TREE_CACHE_PAGES = 262_144  # about 70 MB of bucket pages in RAM
TREE_UPDATES_PER_SLICE = 32  # about 0.3 ms between two breaths of the event loop
