"""Crashes, and what a restart finds: lost journals, rotten slots, another set, another role."""

from __future__ import annotations

import copy

from msgspec import structs

from consensus.inputs import TimerKind
from consensus.messages import encode_message
from storage.signing_state import Quarantine
from storage.vote_journal import parse_journal
from tests.scenarios.cast import MessageWords
from tests.scenarios.language import Step
from tests.scenarios.words import Words
from tests.simulator import signer


class Crashes(Words):
    """The words of power cuts and disks."""

    def _play_cut(self, words: list[str]) -> list[str]:
        """`cut the power before the watermark`: at that point of the next vote."""
        self.cut_at = " ".join(words).removeprefix("the power ")
        return []

    def _play_crash(self, words: list[str]) -> list[str]:
        self.disk.crash()
        self.is_running = False
        return []

    def _play_lose(self, words: list[str]) -> list[str]:
        """`lose the journal` (or `slot 0`, `slot 1`, `block bodies`): it is gone when the node restarts."""
        what = words[-1]
        if what == "journal":
            self.disk.restart_journal(())
        elif what == "bodies":
            self.disk.blocks.clear()
        else:
            self.disk.slots[int(what)] = b""
        return []

    def _play_restart(self, words: list[str]) -> list[str]:
        """`restart [set BE order EB] [as follower]`: under a recovery override of the height's set, or on a
        node that was told to vote no more."""
        self._change_set(words)
        if "follower" in words:
            self.config = structs.replace(self.config, public_key=None)
        recovery = self.disk.recover()
        if isinstance(recovery, Quarantine):
            self._boot(quarantined=True)
            return ["quarantine", *self._start(len(self.disk.chain))]
        self.disk.level(recovery)
        self._boot(quarantined=False)
        found = signer.what_was_found(self.disk, recovery)
        return self._start(len(self.disk.chain), recovered=found)

    def _change_set(self, words: list[str]) -> None:
        if "set" in words:
            self.cast.use_set(self.cast.validators.epoch + 1, words[words.index("set") + 1])
            self.order = list(words[words.index("order") + 1])

    def _play_override(self, words: list[str]) -> list[str]:
        """`override makes x final set BE order EB`: this block of the height has no COMMITs."""
        self.disk.chain.append((self.cast.block(words[1], self.height), (), None))
        self._change_set(words)
        return self._start(self.height + 1)

    def _play_rewrite(self, words: list[str]) -> list[str]:
        """`rewrite the last record as version 2` (or `step 4`, `attachment PREPARE`): the journal's last
        frame is whole, and what it holds is no vote record."""
        records = parse_journal(self.disk.journal).records
        what, value = words[-2:]
        if what == "attachment":
            said = MessageWords(self.cast, f"{value} {self.me} r0 x".split(), self.height)
            changed = structs.replace(records[-1], attachment=encode_message(said.message()))
        else:
            changed = structs.replace(records[-1], **{what: int(value)})
        self.disk.restart_journal((*records[:-1], changed))
        return []

    def _play_forget(self, words: list[str]) -> list[str]:
        """The watermark holds only the lock's name, and the journal is lost."""
        recovery = self.disk.recover()
        assert not isinstance(recovery, Quarantine)
        last = recovery.last
        assert last is not None
        assert last.lock is not None
        named = structs.replace(last, lock=structs.replace(last.lock, header=None, prepares=()))
        self.disk.restart_journal(())
        for _ in range(2):
            self.disk.write_watermark(named)
            self.disk.sync_watermark()
        return []

    def _play_damage(self, words: list[str]) -> list[str]:
        """`damage the journal everywhere` (or `slot 0`): cut it at every byte, and flip every byte, each time
        on a fresh copy of the disk; restart and tempt the node with the lines of `Then:`."""
        disk, signed, decisions = self.disk, self.signed, self.decisions
        slot = int(words[1]) if words[0] == "slot" else None
        original = disk.journal if slot is None else disk.slots[slot]
        for place in range(len(original)):
            flipped = original[:place] + bytes([original[place] ^ 0x55]) + original[place + 1 :]
            for damaged in (original[:place], flipped):
                self.disk = copy.deepcopy(disk)
                if slot is None:
                    self.disk.journal = damaged
                else:
                    self.disk.slots[slot] = damaged
                self.signed, self.decisions = dict(signed), {}
                self._play_restart([])
                self._tempt()
        self.disk, self.signed, self.decisions = disk, signed, decisions
        return []

    def _tempt(self) -> None:
        for text in self.scenario.settings["then"].split(";"):
            words = text.split()
            if words[0] != "timer" or TimerKind[words[1]] in self.timers:
                self.play(Step(0, ">", text.strip()))
