"""HTTP capture: every call that a script makes inside a run becomes an ApiCallMade, by whichever client.

`instrument` wraps the clients (requests, httpx) where their calls go out; `current` says which run a call
belongs to; a `Call` copies what passes by; `telling` makes an event of it, secrets cut out, in the
background.
"""
