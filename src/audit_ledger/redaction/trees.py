"""Trees of dicts, lists and scalars, as JSON makes them: a redacted copy of the same structure."""

from typing import TYPE_CHECKING, Any

from audit_ledger.redaction import commands
from audit_ledger.redaction.json_text import dump, load
from audit_ledger.redaction.names import LONGEST, is_oauth

if TYPE_CHECKING:
    from audit_ledger.redaction.rules import Rules

_SHAPES = (("name", "value"), ("key", "value"), ("Name", "Value"), ("Key", "Value"))


def document(rules: "Rules", text: str, depth: int) -> str | None:
    """A JSON document without its secrets, or None if the text is none."""
    try:
        tree, repeated = load(text.lstrip("\ufeff"))
        clean, changed = redacted(rules, {"tree": tree, "repeated": repeated}, depth)
        return dump(clean["tree"], ascii_only="\\u" in text) if changed else text
    except (ValueError, RecursionError):
        return None


def _beside(rules: "Rules", source: Any, *, listed: bool) -> set[Any]:
    """The keys, or indexes, of the items that a name beside them says are secret."""
    if isinstance(source, dict):
        return {held for key, held in _SHAPES if held in source and rules.hides(source.get(key))}
    pair = listed and len(source) == 2 and rules.hides(source[0])
    return commands.values(rules, source) | ({1} if pair else set())


def redacted(rules: "Rules", value: Any, depth: int) -> tuple[Any, bool]:
    """A redacted copy, and whether it differs; without recursion, for trees of any depth."""
    root: dict[Any, Any] = {}
    todo: list[tuple[Any, Any, bool]] = [({"": value}, root, False)]
    tuples: list[tuple[Any, Any, Any]] = []  # filled as lists, frozen from the inside out
    changed, always, search, known = False, rules.always, rules.trigger, rules.known
    while todo:
        source, target, listed = todo.pop()
        mapping, beside = isinstance(source, dict), _beside(rules, source, listed=listed)
        for at, item in source.items() if mapping else enumerate(source):
            key, new, secret = at, item, False
            if isinstance(at, str):
                key, secret, query = known(at) if len(at) < LONGEST else rules.name(at)
                secret = secret or (query and is_oauth(source))
                while key in target:  # two keys that held secrets
                    key = f"{key} ({len(target) + 1})"
            elif isinstance(at, bytes):
                secret = rules.hides(at)
            if secret or at in beside:
                new = rules.mark(item)
            elif isinstance(item, str):
                new = rules.text(item, depth) if always or search(item) else item
            elif isinstance(item, (dict, list, tuple)):
                new = {} if isinstance(item, dict) else [None] * len(item)
                todo.append((item, new, not mapping))
                if isinstance(item, tuple):
                    tuples.append((target, key, new))
            elif isinstance(item, bytes):
                new = rules.body(item, None, depth)
            target[key] = new
            if not changed and (new is not item or key != at):
                changed = key != at or (new != item and not isinstance(new, (dict, list)))
    for target, key, filled in reversed(tuples):
        target[key] = tuple(filled)
    return root[""], changed
