"""Finding processes that are frozen: they hold their connections, and would hold those who wait for them for ever.

    processes.py   what a process does, as the kernel has it; ending one with all that it started
    guard.py       a process beside a replica, which ends it when it is frozen
    guarded.py     the replica's side of that

What computes, or waits for a processor or a disk, is slow and not frozen, however long it says nothing.
"""
