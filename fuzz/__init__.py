"""Fuzzing: whatever bytes arrive, each parser parses them or raises the one error that it declares.

One file for each parser, `fuzz_<target>.py`, and one for a whole node, `fuzz_resp_server.py`, with two names that the
runner uses:

* `target(data)` hands the bytes to the parser. It returns if the invariant in the first line of its docstring holds,
  and raises anything at all if it does not;
* `WORDS` are byte strings that mean something to the parser, so that mutation does not have to find them by chance.

`fuzz/corpus/<target>/` has inputs to begin with: `.txt` files as they are (a final line feed is not part of the input),
`.hex` files as hexadecimal digits. `python -m fuzz` runs a target, see `docs/testing.md`; nothing has to be installed
for it. `canary` is broken on purpose: it proves that the runner finds what is to be found.
"""
