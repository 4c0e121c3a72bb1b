"""The fault campaign: a real cluster on this machine, clients that keep a history, faults from a seed, and a judge.

Nothing here is part of a node: nodes are processes, seen from outside as their users see them. Read in this order:

`history` is what clients noted; `linearizability` and `judge` say whether it can be (pure). `plan` draws the faults and
`workload` the calls from a seed (pure). `cluster`, `network`, `disk` and `power` are the ground on which it happens,
`faults` what is done to it, `clients` who asks. `campaign` runs it all, `report` and `picture` tell it.
"""
