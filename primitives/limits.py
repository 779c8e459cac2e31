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
DB_WRITE_BUFFER_BYTES = 32 * MIB  # sorted in RAM before a table is written; two of them at times
DB_TABLE_BYTES = 8 * MIB  # of one table file
DB_BLOOM_BITS = 10
DB_MAX_OPEN_FILES = 512
BODIES_PER_CHUNK = 32  # transactions in one row of block bodies: what reading one transaction has to decode
MAX_JOURNAL_BYTES = 32 * MIB
JOURNAL_ROTATE_BYTES = 256 * KIB  # a decided height rotates a journal longer than this
WATERMARK_SLOT_BYTES = 32 * KIB
DISK_FLOOR_BYTES = 256 * MIB  # less free space than this: stop
DISK_LOW_BYTES = 512 * MIB  # less free space than this: stop proposing
DISK_RESERVE_BYTES = 64 * MIB
MAX_PAGE_ITEMS = 1000  # rows in one page of a query
HOT_SET_SHARDS = 1024
INTEGRITY_PARENTS = 64  # blocks below the tip checked at every start
MAX_FINDINGS = 100
CURSOR_VIEWS = 16  # past heights whose state is held for the cursors that were given out there
MAX_SPENDER_SEARCH = 1000  # entries of a lock's history read to say who spent an output
STORAGE_READS_PER_SLICE = 256  # state entries read between two breaths
STORAGE_ROWS_PER_SLICE = 512  # about 0.3 ms between two breaths of the event loop

# --- state tree
TREE_ARITY = 16
BUCKET_ENTRIES = 64  # a bucket with more entries is split
TREE_CACHE_BYTES = 64 * MIB  # of bucket pages in RAM, where nothing else is said
TREE_CACHE_SLACK_BYTES = MIB  # reads between two blocks may exceed a cache by so much
TREE_SETTLED_PER_SLICE = 400  # digests or pages carried over between two breaths
TREE_UPDATES_PER_SLICE = 32  # about 0.3 ms between two breaths of the event loop
TREE_EDITS_PER_ROW = 512  # of a block's edits to the tree: about 40 KB a row
TREE_PARTS = 256  # of the buckets, saved one after another
TREE_EDITS_PER_TURN = 524_288  # for so many each part is saved once: 110,000 payments
TREE_EDITS_PER_BLOCK = 32  # a block counts as so many more
TREE_SAVES_PER_TURN = 32
TREE_SAVE_BYTES = 4 * MIB  # of pages are saved at one time, unless too much RAM is held by unsaved ones
TREE_EDITS_PER_REPLAY = 65_536  # a start applies so many together

# --- network: frames and queues (per peer unless it says otherwise)
MAX_PEERS = 256
CHANNEL_FRAME_BYTES = {
    "consensus": MAX_CONSENSUS_MESSAGE_BYTES,
    "transactions": MIB,
    "blocks": MIB,
}
SEND_QUEUE_MESSAGES = 4096
SEND_QUEUE_BYTES = 8 * MIB
INBOX_PEER_MESSAGES = 2048
INBOX_PEER_BYTES = 8 * MIB
INBOX_TOTAL_BYTES = 64 * MIB
INBOX_BATCH_MESSAGES = 512
INBOX_BATCH_BYTES = 256 * KIB  # taken by the reader at a time: a few milliseconds of work
PEER_EVENTS_MAX = 4096
GOSSIP_MAX_BYTES = 512 * KIB
GOSSIP_PUBLISH_QUEUE = 256

# --- network: requests
MAX_METHOD_BYTES = 64
MAX_REQUEST_BYTES = MIB
MAX_RESPONSE_BYTES = 4 * MIB
MAX_REQUEST_ERROR_BYTES = 256
RESPONSE_CHUNK_BYTES = 60_000
REQUESTS_IN_FLIGHT = 64
REQUESTS_SERVED_AT_ONCE = 8
REQUESTS_SERVED_WAITING = 32
REQUEST_SERVE_SECONDS = 30

# --- network: connections
HANDSHAKE_SECONDS = 5
MAX_HANDSHAKES = 64
MAX_HANDSHAKES_PER_ADDRESS = 32
MAX_HANDSHAKE_ADDRESSES = 1024
BUDGET_HANDSHAKES_PER_SECOND = 20
BUDGET_HANDSHAKES_BURST = 64
MAX_PEER_STREAMS = 16
YAMUX_WINDOW_BYTES = MIB
YAMUX_BATCH_BYTES = 65_000
YAMUX_CONTROL_BYTES = 64 * KIB
PING_INTERVAL_SECONDS = 2
PING_MISSES = 3
DIAL_BACKOFF_MIN_MS = 250
DIAL_BACKOFF_MAX_MS = 2_000  # after a partition this wait comes before the first block

# --- network: what a peer may send, a second and at once
BUDGET_BYTES_PER_SECOND = 32 * MIB
BUDGET_BYTES_BURST = 64 * MIB
BUDGET_MESSAGES_PER_SECOND = 4_000
BUDGET_MESSAGES_BURST = 8_000
BUDGET_REQUESTS_PER_SECOND = 200
BUDGET_REQUESTS_BURST = 400
BUDGET_STREAMS_PER_SECOND = 8
BUDGET_STREAMS_BURST = 64
BUDGET_PINGS_PER_SECOND = 20
BUDGET_PINGS_BURST = 100

# --- network: misbehaviour
BAN_SCORE = 100
BAN_MS = 10 * 60 * 1000
SCORE_HALF_LIFE_MS = 60_000
MAX_BANS = 1024

# --- consensus engine
CONSENSUS_FUTURE_HEIGHTS = 10  # messages for heights this far ahead are kept
CONSENSUS_FUTURE_MESSAGES_PER_PEER = 256
CONSENSUS_FUTURE_BYTES_PER_PEER = 8 * MIB
CONSENSUS_MAX_PEERS = 512  # peers the engine keeps anything for
CONSENSUS_COMMIT_ROUNDS = 16  # rounds of one height whose COMMITs and blocks are kept
CONSENSUS_DECIDED_HEIGHTS = 16  # decided heights kept to answer laggards and to prove conflicts
CONSENSUS_LAGGARD_ANSWERS = 1024  # answers to laggards in one second
CONSENSUS_MAX_VERIFIED = 8192  # signatures remembered as verified, per height
CONSENSUS_MAX_RECORD_BYTES = MAX_CONSENSUS_MESSAGE_BYTES + 64 * KIB  # one vote record of the journal

# --- ledger: payloads and the registry
MAX_ORDER_ID_BYTES = 64
MAX_NAME_CHARS = 64
MAX_PEER_ID_BYTES = 64
MAX_NODE_ADDRESSES = 8
MAX_NODE_ADDRESS_CHARS = 128
MAX_WALLETS_PER_ACT = 256

# --- transactions and blocks between nodes (drexnode/wire.py)
MAX_BATCH_BYTES = MIB  # one frame of CHANNEL_FRAME_BYTES["transactions"]
MAX_BATCH_TRANSACTIONS = 4096
BATCH_TARGET_BYTES = 60_000  # a batch is closed here: frames of 64 KiB and more travel at half the speed
DIRECT_BATCH_PAUSE_MS = 20  # under load, how long a frame to the validators gathers: 0.4 ms of work each
GOSSIP_BATCH_PAUSE_MS = 100  # the same for gossip: about 5 ms of work each
OUTBOX_BYTES = 8 * MIB
RELAY_ABOVE_VALIDATORS = 16  # more are told in groups, by one member of each (drexnode/relay_groups.py)
RESEND_INTERVAL_MS = 5_000  # a transaction of ours that waits longer than this is sent again
INTAKE_TASKS = 3  # batches of peers that are judged at one time
PEER_TRANSACTIONS_PER_SECOND = 10_000
PEER_TRANSACTIONS_BURST = 50_000
MAX_HEAD_BYTES = MAX_HEADER_BYTES + MAX_CERTIFICATE_BYTES
MAX_STATUS_BYTES = KIB
MAX_NODE_NAME_BYTES = 64
MAX_BODIES_A_REQUEST = 16_384
MAX_BLOCKS_A_RESPONSE = 1024
MAX_HEADERS_A_RESPONSE = 1024

# --- validator votes
MAX_VOTE_SUBJECTS = 1024

# --- sync: ranges of final blocks
SYNC_CHUNK_BYTES = 512 * KIB  # blocks in one answer: decoded in one breath of the event loop
SYNC_RANGE_BLOCKS = 128  # heights one request may name
SYNC_WINDOW_BYTES = 24 * MIB  # asked for, buffered or in the pipeline, not yet final
SYNC_WINDOW_BLOCKS = 4096
SYNC_REQUESTS_IN_FLIGHT = 8
SYNC_REQUESTS_PER_PEER = 2
SYNC_REQUEST_TIMEOUT_MS = 8_000
SYNC_HEDGE_MS = 1_000  # the block that all wait for is asked of a second peer after this
SYNC_BACKOFF_MIN_MS = 250
SYNC_BACKOFF_MAX_MS = 15_000
SYNC_GROUP_TRANSACTIONS = 1024  # about this many are verified as one batch
SYNC_GROUPS_AHEAD = 2  # batches verified ahead of the one being executed
SYNC_PATIENCE_MS = 1_000  # how long a validator leaves the next height to its own consensus
SYNC_LIVE_BLOCKS = 2  # so few missing blocks are no catching up
SYNC_FAR_BLOCKS = 4  # so many missing blocks, and a validator does not wait for its consensus
SYNC_REPORT_MS = 2_000

# --- heads
STATUS_INTERVAL_MS = 5_000
STATUS_TIMEOUT_MS = 3_000
HEADS_TICK_MS = 100  # how late a postponed announcement may be
HEAD_REPEAT_MS = 300  # between two announcements to one peer, unless this node proposed the block
HEAD_GOSSIP_MS = 1_000  # between two heads gossiped by one node; a gossiped message costs its receivers 5 ms

# --- what plain transfers remember of the rules (ledger/plain_transfer.py)
FACTS_ASSETS = 256  # assets at one time; past a bound all is found out anew
FACTS_LOCKS = 16_384  # locks of all assets together: about 2 MB, and dropped within half a millisecond

# --- blocks on the wire and their execution
MAX_ENCODED_BLOCK_BYTES = MAX_BLOCK_BYTES + KIB  # transactions, header and array heads
TRANSACTIONS_PER_SLICE = 8  # decoded or indexed between two breaths of the event loop
ENTRIES_APPLIED_PER_SLICE = 32  # transactions, inputs and outputs: eight usual transfers, or one large one
EXPIRIES_PER_SLICE = 128  # remembered txids forgotten between two breaths
MERKLE_LEAVES_PER_SLICE = 256  # a power of two: the parts of one Merkle tree
DELTA_KEYS_PER_SLICE = 500  # changed entries gathered or summed between two breaths
BUILDER_MISFITS = 32  # candidates that no longer fit before a builder calls a block full

# --- signature verification (drexnode/verifier.py)
VERIFY_PART = 3  # signatures before the time of a breath is looked at: 0.11 ms
VERIFY_SLICE = 8  # signatures that are verified here while a worker is idle: sending them costs more
VERIFY_BATCH = 128  # signatures in one frame to a worker: 16 KiB, about 6 ms of its work
VERIFY_SHARE = 32  # less than this is not split between workers
VERIFY_IN_FLIGHT = 3  # frames ahead of one worker; together they fit a pipe's 64 KiB
VERIFY_QUEUE_CHECKS = 1024  # one caller's signatures before the next caller's turn
VERIFY_TIMEOUT_SECONDS = 10
VERIFY_RESTART_MIN_SECONDS = 0.1
VERIFY_RESTART_MAX_SECONDS = 5.0

# --- the node's own queues
BREATH_SECONDS = 0.0004  # of one piece of work between two turns of the event loop
GIVE_WAY_SECONDS = 0.05  # what can wait takes a breath at least this often
DRIVER_DURABLE_QUEUE = 256
DRIVER_EVIDENCE_KEPT = 1024
EVIDENCE_PER_VALIDATOR = 64  # more proofs against one key say nothing new
EVIDENCE_IN_OFFER = 16  # proofs in one request to a peer: 64 KiB at most
EVIDENCE_QUEUE = 64  # new proofs that wait to be passed on
DRIVER_SLICE_SECONDS = 0.0005  # of consensus messages between two turns of the event loop
CANDIDATE_BLOCKS = 4 * CONSENSUS_COMMIT_ROUNDS  # more than the engine may take for valid without asking again
CANDIDATE_SOURCES = 64
BODY_REQUEST_TIMEOUT_MS = 2_000
BODY_FETCH_PASSES = 3
BODY_SOURCE_TURN_MS = 4_000  # one source's time before the next one is asked
EXECUTED_BLOCKS = 4

# --- genesis
MAX_GENESIS_BYTES = 4 * MIB
MAX_REGISTRY_RECORD_BYTES = 4 * KIB

# --- mempool
MEMPOOL_MAX_TRANSACTIONS = 50_000
MEMPOOL_MAX_BYTES = 64 * MIB
MEMPOOL_PARTICIPANT_TRANSACTIONS = 25_000
MEMPOOL_PARTICIPANT_BYTES = 32 * MIB
MEMPOOL_PLANS = 16_384  # entries that keep what admission worked out for their block: 1 KB each
MEMPOOL_MAX_ANCESTORS = 32  # unconfirmed transactions that one may build on
MEMPOOL_FINALISED_PER_SLICE = 100
MEMPOOL_RECHECK_BLOCKS = 10  # an entry is checked again after this many blocks
MAX_REJECTIONS = 50_000
REJECTION_MEMORY_MS = 60 * 60 * 1000

# --- admission of transactions (drexnode/admission.py)
BODIES_KEPT = 16_384  # recently seen transactions beside the pool
BODIES_BYTES = 32 * MIB
MAX_WAITERS = 100_000  # transactions whose outcome somebody waits for
DECODE_SLICE = 16  # transactions decoded between two turns of the event loop
DECODE_PART = 4  # decoded before the time of a breath is looked at: the largest take 1 ms each
ADMIT_PART = 256  # transactions judged together: what is done for each of them in one slice is below 2 µs
ADMIT_SLICE = 8  # transactions put into the pool between two turns of the event loop
PLAIN_CHECKS_A_VIEW = 8192  # transfers looked up at one tip before what they found out is found out anew
RECHECK_BATCH = 256  # of the pool's entries that wait for long, found at one time
RESEND_BYTES = MIB  # of our own pending transactions, sent again at one time

# --- serving
RECENT_BLOCKS = 16  # final blocks kept in RAM for peers that are a little behind
RECENT_BLOCK_BYTES = 6 * MIB  # of their encoded transactions
SERVED_BODIES_PER_SLICE = 512  # looked up in RAM between two breaths of the event loop
SERVED_ROWS_PER_SLICE = 8  # rows read from the store between two breaths of the event loop

# --- proofs of state
MAX_PROOF_BYTES = 2 * MIB
MAX_PROOF_FILE_BYTES = 64 * MIB  # with header, certificate and the way from the genesis
DISK_CHECK_INTERVAL_MS = 1_000
LOOP_LAG_INTERVAL_MS = 250
MAX_REGISTERED_NODES = 10_000

# --- answers to the RPC (drexnode/chain_api.py, drexnode/money_api.py)
HEADERS_SLICE = 64  # headers read between two turns of the event loop
REGISTRY_ROWS = 10_000  # entries of the registry in one answer
SIMULATED_TRANSACTIONS = 64  # transactions tried together in one call
REMEMBERED_EVENTS = 4096  # of consensus, and of alerts: what a subscriber may go on after
ALERT_INTERVAL_MS = 1_000
ALERT_ROUND = 2  # a round from here on is worth an alert
ALERT_MISSED_BLOCKS = 10  # without a validator's seal, one after another
ALERT_SILENT_PERIODS = 3  # block periods without a block
ALERT_WAITING_MS = 10_000  # without a block while transactions wait
SIMULATION_ATTEMPTS = 3  # a simulation that a new block overtakes begins again
PROOF_ATTEMPTS = 5  # a proof that a new block overtakes begins again
PUSH_AFTER_MS = 250  # a transaction pending for longer may have been missed by the proposer
PUSH_BYTES = 60 * KIB  # of them, to all with a ROUND_CHANGE
WAKE_BYTES = 8 * KIB  # of them, to a proposer at the beginning of a height: under load it has them already

# --- a user's files
ADDRESS_BOOK_ENTRIES = 10_000
ADDRESS_BOOK_BYTES = 4 * MIB  # of the whole file, some 400 an entry
MAX_PACKED_FILE_BYTES = 16 * MIB  # a draft and the transactions that made its inputs, in hex

# --- recovery overrides
MAX_OVERRIDE_BYTES = 192 * KIB  # 256 validators with their peers, a certificate, 16 signatures
MAX_OVERRIDES = 256  # kept at a node: one a height
OVERRIDES_RESPONSE_BYTES = MIB  # of overrides in one answer (one more)
MAX_STATEMENT_BYTES = 192 * KIB  # two headers, two certificates, a set
MAX_STATEMENTS = 1024  # in one proposal

# --- snapshots and backups (storage/snapshot_*.py, storage/backup*.py)
MAX_TRUST_LINKS = 65_536  # changes of the validator set between the genesis and a block
SNAPSHOT_CHUNK_BYTES = 512 * KIB  # entries in one file; the last one may push it a little beyond
MAX_SNAPSHOT_CHUNK_BYTES = 2 * MIB
MAX_SNAPSHOT_CHUNKS = 1_000_000  # about a terabyte of state
MAX_MANIFEST_BYTES = 256 * MIB
SNAPSHOT_ROWS_PER_PAUSE = 128  # rows read beside a running node before it may breathe: 0.2 ms
SNAPSHOT_PAUSE_MS = 1
MAX_SNAPSHOT_BYTES = 1 << 40  # of all chunks of one that a peer offers
MAX_SNAPSHOT_OFFERS = 8
MAX_OFFERED_MANIFEST_BYTES = 16 * MIB  # 200 GB of state in chunks of the usual size
SNAPSHOT_PART_BYTES = MIB  # of a manifest or chunk in one answer
SNAPSHOT_OFFER_WAIT_MS = 2_000  # for a second peer's offer, before the best one is taken
SNAPSHOT_NO_OFFER_MS = 30_000  # without any offer, before that is an error or blocks are fetched
SNAPSHOT_ASK_AGAIN_MS = 1_000
SNAPSHOT_STALL_MS = 20_000  # without a chunk, before another snapshot is looked for
RESTORE_ROWS_PER_BATCH = 20_000

# --- the signer process (drexnode/signer_server.py, signer_remote.py)
SIGNER_ANSWER_SECONDS = 5.0  # then the signer counts as gone
SIGNER_BACKOFF_SECONDS = 1.0  # between two tries to reach it
SIGNER_PATIENCE_SECONDS = 10.0  # a starting node waits for it
SIGNER_CONNECTIONS = 16
SIGNER_IDLE_SECONDS = 30.0  # of a connection that has not said HELLO
SEGMENT_BYTES = 4 * MIB  # of blocks in one file of a backup
MAX_SEGMENT_BYTES = 64 * MIB
MAX_SEGMENT_BLOCKS = 16_384
MAX_BACKUP_SEGMENTS = 1_000_000

# --- retention (storage/prune.py)
MIN_KEPT_BLOCKS = 128  # bodies that a pruned node keeps at least: what a peer a little behind asks for
PRUNE_BLOCKS = 64  # blocks whose bodies go in one batch
PRUNE_PAUSE_MS = 20  # between two batches of a running node

# --- join bundles (drexnode/join_bundle.py)
MAX_BUNDLE_BYTES = MAX_GENESIS_BYTES + 16 * KIB
MAX_BUNDLE_PEERS = 16
MAX_BUNDLE_TIME_MS = 253_402_300_799_000  # the last second of the year 9999
MAX_BUNDLE_DAYS = 365

# --- peers by hand (drexnode/peering.py)
MAX_ADDED_PEERS = 64
MAX_BAN_MS = 365 * 24 * 3_600_000
