"""The words that stand in examples of calls for what each network has of its own.

docs/rpc.md shows an example of every method; tests replace these words by what a running network has, and
carry every example out.
"""

ADDRESS = "ADDRESS"
TXID = "TXID"
BLOCK_ID = "BLOCK_ID"
TRANSACTION = "TRANSACTION"
VALIDATOR_KEY = "VALIDATOR_KEY"
PEER_ID = "PEER_ID"
PEER_ADDRESS = "PEER_ADDRESS"
FOLDER = "FOLDER"

WORDS = {
    ADDRESS: "an address: `drexdev1…`",
    TXID: "a transaction's id in hex",
    BLOCK_ID: "a block's id in hex",
    TRANSACTION: "a signed transaction in hex",
    VALIDATOR_KEY: "a validator's public key in hex",
    PEER_ID: "a peer's id: `12D3KooW…`",
    PEER_ADDRESS: "a peer's multiaddress: `/ip4/…/tcp/…/p2p/12D3KooW…`",
    FOLDER: "an absolute path on the node's machine",
}
