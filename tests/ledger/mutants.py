"""Take each rule out and show that a property fails: `python -m tests.ledger.mutants`.

A mutant is one change of the source's text. It is applied to the loaded modules only (the functions' code is
exchanged), the property named beside it runs, and must fail. Exit 0 when every mutant is found and every
property passes unchanged.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
import time
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from tests.ledger import test_invariants as properties
from tests.ledger import test_transfer_plan as plans

Property = Callable[[], None]


class Mutant(NamedTuple):
    """One rule taken out: in `module`, the text `old` becomes `new`."""

    rule: str
    module: str
    old: str
    new: str
    found_by: Property


SUPPLY: Property = properties.test_emitted_minus_burned_is_the_sum_of_unspent
ROWS: Property = properties.test_each_kind_changes_supply_as_its_row_says
INTERBANK: Property = properties.test_interbank_moves_three_assets_whole_and_leaves_retail_unchanged
SPENT_ONCE: Property = properties.test_no_output_is_spent_twice
FROZEN: Property = properties.test_no_act_of_the_holder_goes_below_what_is_frozen
BACKED: Property = properties.test_circulating_e_money_is_at_most_its_reserve
AUTHORITY: Property = properties.test_nobody_without_authority_changes_anything
ONCE: Property = properties.test_no_authorised_act_applies_twice
REFUSED: Property = properties.test_a_refused_transaction_changes_nothing
REPLAY: Property = properties.test_replay_from_genesis_gives_the_same_state
PLANNED: Property = plans.test_a_plan_kept_while_others_spend_and_change_the_rules_never_serves_wrongly

MUTANTS = (
    Mutant(
        "emitted and burned are booked",
        "ledger.apply",
        "            post(view, asset, flow.policies[asset], change)",
        "            pass",
        SUPPLY,
    ),
    Mutant(
        "balances follow the outputs",
        "ledger.flows",
        "        if change:\n            key = BALANCE",
        "        if change > 0:\n            key = BALANCE",
        SUPPLY,
    ),
    Mutant(
        "balances follow the outputs (short way)",
        "ledger.plain_transfer",
        "    gains = {lock: -total}\n",
        "    gains = {}\n",
        SUPPLY,
    ),
    Mutant(
        "a transfer is balanced",
        "ledger.apply",
        '        if change:\n            _refuse_unbalanced(flow, asset, "they must be equal")',
        "        pass",
        ROWS,
    ),
    Mutant(
        "a transfer is balanced (short way)",
        "ledger.plain_transfer",
        "    if left:\n        return None",
        "    pass",
        SUPPLY,
    ),
    Mutant("a burn only lowers", "ledger.apply", "    if not burned:", "    if False:", ROWS),
    Mutant(
        "a move creates nothing",
        "ledger.apply",
        '        if change > 0:\n            _refuse_unbalanced(flow, asset, "a move creates nothing")',
        "        pass",
        ROWS,
    ),
    Mutant(
        "interbank: cash goes from A's cash lock to B's",
        "ledger.apply",
        "        if change != expected.get(lock, 0):",
        "        if False:",
        INTERBANK,
    ),
    Mutant(
        "interbank: A's asset falls by what B's rises",
        "ledger.apply",
        "    if flow.delta[payer_asset] != -amount:",
        "    if False:",
        INTERBANK,
    ),
    Mutant(
        "interbank: bank B consents",
        "ledger.authority",
        "optional=payee_bank.standing_consent",
        "optional=True",
        INTERBANK,
    ),
    Mutant(
        "interbank: bank A authorises",
        "ledger.authority",
        "        issuer(reader, context, payer_bank),\n",
        "",
        INTERBANK,
    ),
    Mutant(
        "spent outputs are removed",
        "ledger.flows",
        "        view.replace(key, view.get(key), None)",
        "        pass",
        SPENT_ONCE,
    ),
    Mutant(
        "spent outputs are removed (short way)",
        "ledger.state",
        "changes[key] = (entry if change is None else change[0], None)",
        "changes[key] = (entry, entry)",
        SPENT_ONCE,
    ),
    Mutant(
        "a kept plan is of the rules that are in force",
        "ledger.state",
        "        if plan.era is not self.facts.era:",
        "        if False:",
        PLANNED,
    ),
    Mutant(
        "a kept plan spends what lies there",
        "ledger.state",
        "            if (base_get(key) if change is None else change[1]) != entry:",
        "            if False:",
        PLANNED,
    ),
    Mutant(
        "an input is listed once",
        "ledger.checks",
        "        if name in seen:",
        "        if False:",
        SPENT_ONCE,
    ),
    Mutant(
        "an input must be unspent",
        "ledger.flows",
        "        if value is None:\n            _refuse_missing_output(view, body, number, key, context)",
        "        if value is None:\n            value = body.outputs[0].lock + bytes(7) + b'\\x0a' + b'BRL'",
        SPENT_ONCE,
    ),
    Mutant(
        "what is frozen stays",
        "ledger.flows",
        "        if balance < floor:",
        "        if False:",
        FROZEN,
    ),
    Mutant(
        "what is frozen stays (short way)",
        "ledger.plain_transfer",
        "    if view.peek(FLOOR + lock + asset) is not None:\n        return False",
        "    pass",
        FROZEN,
    ),
    Mutant(
        "a bank's move is bound by BCB's freezes",
        "ledger.flows",
        "    if forced and by_bcb:",
        "    if forced:",
        FROZEN,
    ),
    Mutant(
        "BCB's part of a floor is kept apart",
        "ledger.freezes",
        "(change if by_bcb else 0)",
        "0",
        FROZEN,
    ),
    Mutant(
        "an order stands until it is lifted",
        "ledger.freezes",
        "    if view.get(key) is not None:",
        "    if False:",
        ONCE,
    ),
    Mutant(
        "e-money is backed when emitted",
        "ledger.flows",
        "        if change and flow.policies[asset].reserve_lock:",
        "        if False:",
        BACKED,
    ),
    Mutant(
        "e-money is backed when its reserve falls",
        "ledger.flows",
        "        if change < 0 and asset == WHOLESALE:",
        "        if False:",
        BACKED,
    ),
    Mutant(
        "e-money is backed when its reserve falls (short way)",
        "ledger.plain_transfer",
        "        if own is None or own.purpose is Purpose.RESERVE:",
        "        if own is None:",
        BACKED,
    ),
    Mutant(
        "e-money is backed when its reserve is re-pointed",
        "ledger.acts_assets",
        "    check_backing(view, act.asset, record)",
        "    pass",
        BACKED,
    ),
    Mutant(
        "the registry's condition must be satisfied",
        "ledger.witness",
        "    if not requirement.optional and not satisfied(requirement.condition, evidence):",
        "    if False:",
        AUTHORITY,
    ),
    Mutant(
        "every input's key signs",
        "ledger.witness",
        "    if needed:\n        _refuse_missing(min(needed), strangers)",
        "    pass",
        AUTHORITY,
    ),
    Mutant(
        "every input's condition is satisfied",
        "ledger.witness",
        "    if not satisfied(condition, evidence):",
        "    if False:",
        AUTHORITY,
    ),
    Mutant(
        "every input's lock is the signer's (short way)",
        "ledger.plain_transfer",
        " or entry[:32] != lock or ",
        " or ",
        AUTHORITY,
    ),
    Mutant(
        "signatures are verified", "ledger.checks", "        if not valid:", "        if False:", AUTHORITY
    ),
    Mutant(
        "orders are the asset's authority's",
        "ledger.authority",
        "    if actor != asset.order_authority:",
        "    if False:",
        AUTHORITY,
    ),
    Mutant(
        "an order is lifted by its author or BCB",
        "ledger.authority",
        "    if actor != author:",
        "    if False:",
        AUTHORITY,
    ),
    Mutant(
        "a burn needs the issuer",
        "ledger.apply",
        " if policy.burn_needs_issuer else ()",
        " if False else ()",
        AUTHORITY,
    ),
    Mutant(
        "a bank registers only what is its own",
        "ledger.authority",
        "    if actor == owner and not is_bcb(context, actor):",
        "    if not is_bcb(context, actor):",
        AUTHORITY,
    ),
    Mutant(
        "an act is remembered",
        "ledger.replay",
        "    if view.get(key) is not None:",
        "    if False:",
        ONCE,
    ),
    Mutant(
        "an act expires before it is forgotten",
        "ledger.replay",
        "    if body.valid_until and body.valid_until < height:",
        "    if False:",
        ONCE,
    ),
    Mutant(
        "an emission's reference is unique",
        "ledger.apply",
        "    if former is not None:",
        "    if False:",
        ONCE,
    ),
    Mutant("a refusal is rolled back", "ledger.apply", "        view.rollback()", "        pass", REFUSED),
    Mutant(
        "a rollback restores every key",
        "ledger.state",
        "                self._changes[key] = change\n",
        "                pass\n",
        REFUSED,
    ),
    Mutant(
        "the state depends on the chain alone",
        "ledger.replay",
        'counter + count.to_bytes(4, "big")',
        'counter + (id(view) % 2**32).to_bytes(4, "big")',
        REPLAY,
    ),
)


@contextlib.contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """Run the block with the rule taken out of the loaded module."""
    module = importlib.import_module(mutant.module)
    changed = mutated_functions(module, mutant)
    former = [(function, function.__code__) for function, _ in changed]
    for function, code in changed:
        function.__code__ = code
    try:
        yield
    finally:
        for function, code in former:
            function.__code__ = code


def mutated_functions(module: ModuleType, mutant: Mutant) -> list[tuple[FunctionType, Any]]:
    """The functions that a mutant changes, each with the code it gets."""
    source = inspect.getsource(module)
    if source.count(mutant.old) != 1:
        raise LookupError(f"{mutant.module} holds {source.count(mutant.old)} times: {mutant.old!r}")
    namespace: dict[str, Any] = {"__name__": f"{module.__name__}"}
    exec(compile(source.replace(mutant.old, mutant.new), f"<mutant of {module.__name__}>", "exec"), namespace)  # noqa: S102
    pairs = []
    for name, function in _functions(vars(module), module.__name__).items():
        changed = _functions(namespace, module.__name__)[name]
        if changed.__code__.co_code != function.__code__.co_code or (
            changed.__code__.co_consts != function.__code__.co_consts
        ):
            pairs.append((function, changed.__code__))
    return pairs


def _functions(namespace: dict[str, Any], module: str) -> dict[str, FunctionType]:
    """Functions and methods defined in a module, by qualified name."""
    found: dict[str, FunctionType] = {}
    for value in namespace.values():
        members = vars(value).values() if isinstance(value, type) else (value,)
        for member in members:
            function = inspect.unwrap(member) if callable(member) else member
            if isinstance(function, FunctionType) and function.__module__ == module:
                found[function.__qualname__] = function
    return found


def is_found(mutant: Mutant) -> bool:
    """True when the property fails without the rule."""
    with applied(mutant):
        try:
            mutant.found_by()
        except Exception:
            return True
    return False


def main() -> int:
    """Print one line per mutant; 1 when any survived."""
    survivors = 0
    for each in sorted({mutant.found_by for mutant in MUTANTS}, key=lambda property: property.__name__):
        each()
        print(f"holds    {each.__name__.removeprefix('test_').replace('_', ' ')}")
    for mutant in MUTANTS:
        start = time.perf_counter()
        found = is_found(mutant)
        survivors += not found
        name = mutant.found_by.__name__.removeprefix("test_").replace("_", " ")
        verdict, seconds = "found" if found else "SURVIVED", time.perf_counter() - start
        print(f"{verdict:8} {mutant.rule:56} {seconds:5.1f} s  {name}", flush=True)
    print(f"{len(MUTANTS) - survivors} of {len(MUTANTS)} found")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
