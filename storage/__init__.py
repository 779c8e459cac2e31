"""Storage: what is on disk and what of it is in RAM. LevelDB is the truth; a block is one synced batch.

Promise: whatever `ChainStore.write` or `VoteJournal.append` returned from survives a power cut; a write that
failed poisons its handle (docs/storage.md). Nothing here decides consensus or ledger rules.
"""
