"""The load generator behind `corecache bench`: what is asked, how fast it is asked, and what that took.

It sees a node, a cluster or a Redis from outside, through the protocol that users have. Read in this order:

`choosers` draws keys and `workloads` operations from a seed, `requests` makes bytes of them, `tally` counts answers
(all pure). `targets` says where to, `filling` writes the keys and removes them. The load itself is made by processes of
their own: `worker` with its `load`, the lanes of that (a connection each, `lane`) and its `pace`; `crew` starts them
and hears from them by the words of `messages`. `bench` runs it all; `figures`, `histograms` and `picture` tell it.
"""
