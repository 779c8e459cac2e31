"""Notes that only the payee reads: every node keeps a note for ever, so a wallet seals it by default.

A sealed note is `0x01` and a libsodium sealed box (X25519, XSalsa20-Poly1305) of UTF-8 text, made for the
payee's Ed25519 key in its Curve25519 form; whoever sealed it can't open it again. A note without that first
byte is open text. The ledger knows nothing of this: a note is bytes to it.
"""

from __future__ import annotations

from drexnode.wallet_accounts import WalletError
from primitives.keys import SigningKey
from primitives.limits import MAX_NOTE_BYTES

_SEALED = b"\x01"
_OVERHEAD = len(_SEALED) + 48  # an ephemeral key of 32 bytes and a tag of 16
MAX_SEALED_TEXT_BYTES = MAX_NOTE_BYTES - _OVERHEAD


def seal_note(text: str, public_key: bytes) -> bytes:
    """Seal `text` for the holder of an Ed25519 key. Raises `WalletError` WALLET_NOTE_TOO_LONG,
    WALLET_NOTE_KEY for a key that no box can be made for."""
    from nacl import bindings, exceptions, public

    data = text.encode()
    if len(data) > MAX_SEALED_TEXT_BYTES:
        message = f"a sealed note has at most {MAX_SEALED_TEXT_BYTES} bytes of text, this has {len(data)}"
        raise WalletError("WALLET_NOTE_TOO_LONG", message)
    try:
        curve_key = bindings.crypto_sign_ed25519_pk_to_curve25519(public_key)
        return _SEALED + bytes(public.SealedBox(public.PublicKey(curve_key)).encrypt(data))
    except exceptions.CryptoError:
        raise WalletError("WALLET_NOTE_KEY", f"no note can be sealed for {public_key.hex()}") from None


def open_text(text: str) -> bytes:
    """An open note. Raises `WalletError` WALLET_NOTE_TOO_LONG."""
    data = text.encode()
    if len(data) > MAX_NOTE_BYTES or data.startswith(_SEALED):
        raise WalletError("WALLET_NOTE_TOO_LONG", f"an open note is text of at most {MAX_NOTE_BYTES} bytes")
    return data


def is_sealed(note: bytes) -> bool:
    """True for a note that only its payee reads."""
    return note.startswith(_SEALED)


def read_note(note: bytes, key: SigningKey) -> str:
    """The text of a note, opened by its payee's key if it is sealed. Raises `WalletError` WALLET_NOTE_SEALED
    when it was sealed for another key, or is damaged."""
    from nacl import bindings, exceptions, public

    if not is_sealed(note):
        return note.decode("utf-8", "replace")
    curve_seed = bindings.crypto_sign_ed25519_sk_to_curve25519(key.seed + key.public_key)
    try:
        data = public.SealedBox(public.PrivateKey(curve_seed)).decrypt(note[len(_SEALED) :])
        return bytes(data).decode()
    except (exceptions.CryptoError, UnicodeDecodeError, ValueError):
        raise WalletError("WALLET_NOTE_SEALED", "this key does not open the note") from None
