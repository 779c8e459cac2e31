"""Every code by which a transaction is refused, with its meaning. A code is stable: programs may rely on it.

`CODES` is the whole list; the tests produce each of them. Codes of the first group are raised as
`DecodeError` by `decode_transaction`, all others as `InvalidTransaction`.
"""

from __future__ import annotations

from typing import Any, NoReturn

from primitives.errors import InvalidTransaction

# --- reading the bytes (DecodeError)
TOO_LARGE = "TX_TOO_LARGE"
MALFORMED = "TX_MALFORMED"
NONCANONICAL = "TX_NONCANONICAL"
VERSION_UNKNOWN = "TX_VERSION_UNKNOWN"
KIND_UNKNOWN = "TX_KIND_UNKNOWN"
PAYLOAD_INVALID = "TX_PAYLOAD_INVALID"

# --- shape of one transaction, without the state
INPUTS_MISSING = "TX_INPUTS_MISSING"
INPUTS_FORBIDDEN = "TX_INPUTS_FORBIDDEN"
INPUT_DUPLICATE = "TX_INPUT_DUPLICATE"
TOO_MANY_INPUTS = "TX_TOO_MANY_INPUTS"
OUTPUTS_MISSING = "TX_OUTPUTS_MISSING"
OUTPUTS_FORBIDDEN = "TX_OUTPUTS_FORBIDDEN"
TOO_MANY_OUTPUTS = "TX_TOO_MANY_OUTPUTS"
VALUE_RANGE = "TX_VALUE_RANGE"
SUM_OVERFLOW = "TX_SUM_OVERFLOW"
ASSET_NAME = "TX_ASSET_NAME"
NOTE_TOO_LONG = "TX_NOTE_TOO_LONG"
REFERENCE_TOO_LONG = "TX_REFERENCE_TOO_LONG"
REFERENCE_MISSING = "TX_REFERENCE_MISSING"
VALIDITY_RANGE = "TX_VALIDITY_RANGE"
VALIDITY_MISSING = "TX_VALIDITY_MISSING"
WITNESS_MISSING = "TX_WITNESS_MISSING"
WITNESS_ORDER = "TX_WITNESS_ORDER"
WITNESS_UNUSED = "TX_WITNESS_UNUSED"
TOO_MANY_SIGNATURES = "TX_TOO_MANY_SIGNATURES"
PREIMAGE_LENGTH = "TX_PREIMAGE_LENGTH"
CONDITION_INVALID = "TX_CONDITION_INVALID"
BAD_SIGNATURE = "TX_BAD_SIGNATURE"

# --- inputs and the balance of assets
UNKNOWN_OUTPUT = "TX_UNKNOWN_OUTPUT"
DOUBLE_SPEND = "TX_DOUBLE_SPEND"
UNBALANCED = "TX_UNBALANCED"
SUPPLY_OVERFLOW = "TX_SUPPLY_OVERFLOW"
CAP_EXCEEDED = "TX_CAP_EXCEEDED"
NOT_BACKED = "TX_NOT_BACKED"
DUST = "TX_DUST"
INTERBANK_SHAPE = "TX_INTERBANK_SHAPE"

# --- who may
LOCK_UNSATISFIED = "TX_LOCK_UNSATISFIED"
NOT_AUTHORISED = "TX_NOT_AUTHORISED"
WALLET_NOT_ENABLED = "TX_WALLET_NOT_ENABLED"
FROZEN = "TX_FROZEN"
PAUSED = "TX_PAUSED"

# --- time and repetition
NOT_YET_VALID = "TX_NOT_YET_VALID"
EXPIRED = "TX_EXPIRED"
VALIDITY_TOO_LONG = "TX_VALIDITY_TOO_LONG"
REPLAYED = "TX_REPLAYED"
REFERENCE_USED = "TX_REFERENCE_USED"

# --- orders, registry, votes
ASSET_UNKNOWN = "TX_ASSET_UNKNOWN"
PARTICIPANT_UNKNOWN = "TX_PARTICIPANT_UNKNOWN"
ORDER_EXISTS = "TX_ORDER_EXISTS"
ORDER_UNKNOWN = "TX_ORDER_UNKNOWN"
ALREADY_REGISTERED = "TX_ALREADY_REGISTERED"
NOT_REGISTERED = "TX_NOT_REGISTERED"
REGISTRY_RULE = "TX_REGISTRY_RULE"
RECOVERY_PENDING = "TX_RECOVERY_PENDING"
RECOVERY_MISSING = "TX_RECOVERY_MISSING"
NOT_CANCELLABLE = "TX_NOT_CANCELLABLE"
VALIDATOR_IN_SET = "TX_VALIDATOR_IN_SET"
NOT_A_VALIDATOR = "TX_NOT_A_VALIDATOR"
VOTE_INVALID = "TX_VOTE_INVALID"

# --- the mempool's own answers
QUOTA = "TX_QUOTA"

CODES: dict[str, str] = {
    TOO_LARGE: "the bytes are more than a transaction may have",
    MALFORMED: "the bytes are not an array [body, witness] with the documented fields",
    NONCANONICAL: "the bytes are not the one canonical encoding of their value",
    VERSION_UNKNOWN: "the body's version is not 1",
    KIND_UNKNOWN: "the kind is none of 1 to 9",
    PAYLOAD_INVALID: "the payload is not the array this kind carries",
    INPUTS_MISSING: "this kind has at least one input",
    INPUTS_FORBIDDEN: "this kind has no inputs",
    INPUT_DUPLICATE: "the same outpoint is listed twice",
    TOO_MANY_INPUTS: "more inputs than a transaction may have",
    OUTPUTS_MISSING: "this kind has at least one output",
    OUTPUTS_FORBIDDEN: "this kind has no outputs",
    TOO_MANY_OUTPUTS: "more outputs than a transaction may have",
    VALUE_RANGE: "an amount is outside 1 … 2^63-1",
    SUM_OVERFLOW: "the outputs of one asset sum to more than 2^63-1",
    ASSET_NAME: "the text is not an asset's name",
    NOTE_TOO_LONG: "a note has more than 256 bytes",
    REFERENCE_TOO_LONG: "the reference has more than 64 bytes",
    REFERENCE_MISSING: "an emission carries a reference",
    VALIDITY_RANGE: "valid_from is above valid_until",
    VALIDITY_MISSING: "a kind without inputs must say valid_until",
    WITNESS_MISSING: "a signature, condition or preimage that an authorisation needs is not in the witness",
    WITNESS_ORDER: "the witness's entries are not sorted and distinct",
    WITNESS_UNUSED: "the witness carries an entry that no authorisation uses",
    TOO_MANY_SIGNATURES: "more signatures than a transaction may carry",
    PREIMAGE_LENGTH: "a preimage has 1 to 64 bytes",
    CONDITION_INVALID: "a condition breaks the rules of locks: depth, leaves, threshold, order",
    BAD_SIGNATURE: "a signature does not verify under ZIP-215",
    UNKNOWN_OUTPUT: "an input names an output that is not unspent",
    DOUBLE_SPEND: "an input names an output that was spent already",
    UNBALANCED: "inputs and outputs of an asset do not differ by what this kind allows",
    SUPPLY_OVERFLOW: "more than 2^63-1 would have been emitted of the asset in all",
    CAP_EXCEEDED: "more would circulate than the asset's cap",
    NOT_BACKED: "more e-money would circulate than its reserve holds",
    DUST: "an output is below the asset's min_value",
    INTERBANK_SHAPE: "the transaction is not an interbank transfer of one asset to one other",
    LOCK_UNSATISFIED: "the condition of an input is not satisfied",
    NOT_AUTHORISED: "whoever must authorise this did not sign, or another key signed for an input's owner",
    WALLET_NOT_ENABLED: "a lock may not hold the asset, or is disabled",
    FROZEN: "the balance would fall below what is frozen, or a frozen holder's key would get another lock",
    PAUSED: "the asset is paused",
    NOT_YET_VALID: "the block is below valid_from",
    EXPIRED: "the block is above valid_until",
    VALIDITY_TOO_LONG: "valid_until is further ahead than the replay window",
    REPLAYED: "this act was applied already",
    REFERENCE_USED: "an emission of this asset carried this reference already",
    ASSET_UNKNOWN: "no asset of this name is registered",
    PARTICIPANT_UNKNOWN: "no participant of this ispb is registered",
    ORDER_EXISTS: "an order with this id stands already",
    ORDER_UNKNOWN: "no such order stands",
    ALREADY_REGISTERED: "it is registered already",
    NOT_REGISTERED: "it is not registered",
    REGISTRY_RULE: "the act contradicts a rule of the registry",
    RECOVERY_PENDING: "a recovery is pending already",
    RECOVERY_MISSING: "no recovery is pending",
    NOT_CANCELLABLE: "only the first recovery attempt can be cancelled",
    VALIDATOR_IN_SET: "it belongs to a current validator",
    NOT_A_VALIDATOR: "the voter is not a current validator",
    VOTE_INVALID: "the vote's subject, operation or expiry is not possible",
    QUOTA: "no room for this participant's transactions now",
}


def refuse(code: str, message: str, **data: Any) -> NoReturn:
    """Raise `InvalidTransaction` with a stable `code`, what was wrong and expected, and facts as `data`."""
    raise InvalidTransaction(code, message, **data)
