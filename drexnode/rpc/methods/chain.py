"""Blocks, headers, certificates, the genesis and the validator set of a height."""

from __future__ import annotations

from typing import Any

from drexnode.rpc import answers
from drexnode.rpc.errors import REFUSED, RpcError, invalid_params, too_large
from drexnode.rpc.examples import BLOCK_ID
from drexnode.rpc.params import Flag, Hash32, Height
from drexnode.rpc.registry import Context, method
from drexnode.rpc.views import block_view, certificate_view, genesis_view, header_view


@method("drex_chainId", "32 bytes in hex", answers.Hash, rest="GET /chain-id")
async def chain_id(context: Context) -> str:
    """The chain's id: the hash of its genesis document."""
    return context.api.identity.chain_id.hex()


@method("drex_blockNumber", "integer", answers.Count, rest="GET /height")
async def block_number(context: Context) -> int:
    """Height of the highest final block."""
    return context.api.tip().height


@method(
    "drex_getBlockByNumber",
    "block or null",
    answers.Block | None,
    rest="GET /blocks/{height}",
    example=("latest", False),
)
async def get_block_by_number(context: Context, height: Height, full: Flag = False) -> dict[str, Any] | None:
    """A final block by height or "latest"; with `full`, its transactions decoded instead of their ids."""
    block = await context.api.block_by_height(height, full=full)
    if block is None:
        return None
    return block_view(block, context.api.identity, await context.api.validators_at(height), full=full)


@method(
    "drex_getBlockById",
    "block or null",
    answers.Block | None,
    rest="GET /blocks-by-id/{block_id}",
    example=(BLOCK_ID, True),
)
async def get_block_by_id(context: Context, block_id: Hash32, full: Flag = False) -> dict[str, Any] | None:
    """A final block by its id."""
    block = await context.api.block_by_id(block_id, full=full)
    if block is None:
        return None
    validators = await context.api.validators_at(block.header.height)
    return block_view(block, context.api.identity, validators, full=full)


@method(
    "drex_getCommitCertificate",
    "certificate or null",
    answers.Certificate | None,
    rest="GET /blocks/{height}/certificate",
    example=("latest",),
)
async def get_commit_certificate(context: Context, height: Height) -> dict[str, Any] | None:
    """The seals that made a height final, with the keys that made them."""
    certificate = await context.api.certificate(height)
    if certificate is None:
        return None
    return certificate_view(certificate, await context.api.validators_at(height))


@method("drex_getHeaders", "list of headers", list[answers.Header], rest="GET /headers", example=(0, 10))
async def get_headers(context: Context, first: Height, last: Height) -> list[dict[str, Any]]:
    """Headers from one height to another, both included; ends early at the tip."""
    if last < first:
        raise invalid_params("the last height is below the first")
    if last - first + 1 > context.config.max_range:
        raise too_large("heights in one answer", last - first + 1, context.config.max_range)
    return [header_view(header) for header in await context.api.headers(first, last)]


@method("drex_getGenesis", "{document (hex), chain_id, view}", answers.Genesis, rest="GET /genesis")
async def get_genesis(context: Context) -> dict[str, Any]:
    """The genesis document: its exact bytes, and as JSON."""
    return genesis_view(context.api.identity)


@method(
    "qbft_getValidatorsByBlockNumber",
    "list of public keys",
    list[answers.Hash],
    rest="GET /consensus/validators",
    example=("latest",),
)
async def get_validators(context: Context, height: Height) -> list[str]:
    """Keys of the validators that decide a height, ascending."""
    validators = await context.api.validators_at(height)
    if validators is None:
        tip = context.api.tip().height
        raise RpcError(
            REFUSED, "RPC_HEIGHT_UNKNOWN", f"height {height} is above the tip", height=height, tip=tip
        )
    return [key.hex() for key in validators.keys]
