"""How large what events hold may be."""

MAX_STATE_BYTES = 60_000
MAX_COUNT = 2**31 - 1
MAX_REFERRERS = 2000
"""Positions that one BodyErased names: with the longest reason they fit in a state."""
MAX_DAYS = 36_500
"""The longest retention: a hundred years."""
MAX_INPUTS = 1000
"""Records that one DecisionMade names at most; a decision with more has several, in one stream."""
MAX_TEXT = 10_000
"""Characters of a text."""
MAX_NAME = 1000
"""Characters, and bytes of UTF-8, of a name: an index key, which PostgreSQL bounds at about 2,700 bytes."""
