"""Redis's protocol, what a client sends: a command as an array of its words, each of them bytes. Pure.

`resp_requests` reads what comes, leniently as Redis does; this is the one form that clients write.
"""


def command(*words: bytes) -> bytes:
    """Returns a command of these words, of which there has to be one."""
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])
