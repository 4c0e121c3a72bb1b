"""What each kind of fault does, and how it is taken back. When they strike, and what they need, is `plan.py`'s.

A deed is a coroutine from the fault's begin to its end. It takes whom it strikes from the ground (`ground.py`), tells
`struck` who that is at the moment when it begins, and undoes in the end what it did, also when it is cancelled. It
raises SkippedError, and has done nothing, if it can't strike at this moment; and MissedError if it was to hit a moment,
and has hit another.
"""

from collections.abc import Mapping
from typing import Final

from corecache.chaos.faults import aimed, coordination, disks, members, network, processes
from corecache.chaos.faults.deed import Deed

DEEDS: Final[Mapping[str, Deed]] = {
    "kill": processes.kill,
    "kill-all": processes.kill_all,
    "pause-short": processes.pause,
    "pause-lease": processes.pause,
    "pause-long": processes.pause,
    "wipe": processes.wipe,
    "kill-in-catch-up": aimed.kill_in_catch_up,
    "kill-in-hand-over": aimed.kill_in_hand_over,
    "kill-in-compaction": aimed.kill_in_compaction,
    "join-and-drain": members.join_and_drain,
    "zookeeper-stop": coordination.stop,
    "zookeeper-hang": coordination.hang,
    "zookeeper-leader": coordination.stop_leader,
    "session-expiry": coordination.expire,
    "cut-zookeeper": network.cut_zookeeper,
    "cut-minority": network.cut_minority,
    "cut-majority": network.cut_majority,
    "cut-one-way": network.cut_one_way,
    "cut-ring": network.cut_ring,
    "delay": network.delay,
    "loss": network.lose,
    "slow-disk": disks.slow,
    "full-disk": disks.fill,
    "failing-fsync": disks.fail_syncs,
    "dying-disks": disks.lose_all,
    "power-cut": disks.cut_power,
    "power-cut-all": disks.cut_all_power,
}
"""The deed of each kind of `plan.KINDS`."""
