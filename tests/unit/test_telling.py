"""What telling a captured call takes short cuts in: each comes to what the long way comes to."""

from datetime import UTC, datetime
from urllib.parse import SplitResult, urlsplit

from hypothesis import example, given
from hypothesis import strategies as st

from audit_ledger.events import ApiCallMade
from audit_ledger.recording.capture.telling import COMMITMENTS, _at_most, _split
from audit_ledger.recording.messages import CLEAN, Messages
from audit_ledger.redaction import Redactor

PARTS = (
    "http:",
    "//",
    "a",
    "[",
    "]",
    "::1",
    "?",
    "#",
    "/",
    "@",
    ":",
    "\t",
    "\r",
    "\n",
    " ",
    "\0",
    "℀",
    "x=1",
)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(st.lists(st.sampled_from(PARTS), max_size=9).map("".join))
@example("http://a/b?c=d?e")
def test_a_url_is_split_as_urlsplit_splits_it(url: str) -> None:
    def tried(given: str) -> SplitResult | None:
        try:
            return urlsplit(given)
        except ValueError:
            return None

    expected = tried(url)
    try:
        assert _split(url) == expected
    except ValueError:
        assert expected is None


@given(TEXT, TEXT, st.dictionaries(TEXT, TEXT, max_size=20))
@example("\x01" * 2000, "\x01" * 500, {"\x01": "\x01" * 16_000})
def test_no_state_is_longer_than_its_bound(endpoint: str, message: str, headers: dict[str, str]) -> None:
    now = datetime.now(UTC)
    event = ApiCallMade.of(
        attempt=2**31 - 1,
        captured_at=now,
        duration_ms=2**31 - 1,
        endpoint=endpoint,
        error_class=message,
        error_message=message,
        http_status_code=200,
        method="GET",
        occurred_at=now,
        rate_limit_remaining=-(2**53) + 1,
        request_media_type=message,
        request_truncated=True,
        response_headers=headers,
        response_partial=True,
        response_truncated=True,
    )
    try:
        size = len(event.state)
    except ValueError:  # more than an event may have
        size = 60_001
    assert size + COMMITMENTS <= _at_most(event)


def test_a_body_known_to_be_clean_is_kept_as_it_was_and_a_secret_is_cut_each_time() -> None:
    messages = Messages(Redactor(), 1000)
    for _ in range(2):
        assert messages.clean(b'{"a": 1}', "application/json").content == b'{"a": 1}'
        assert b"hunter2" not in messages.clean(b'{"password": "hunter2"}', "application/json").content
    assert len(messages._clean) == 1  # of one with a secret nothing is remembered


def test_a_body_clean_as_one_media_type_is_looked_into_as_another() -> None:
    messages, body = Messages(Redactor(), 1000), b"code=abc"
    assert messages.clean(body, "text/plain").content == body
    assert b"abc" not in messages.clean(body, "application/x-www-form-urlencoded").content


def test_the_users_own_redactor_sees_a_body_that_is_known_to_be_clean_too() -> None:
    seen: list[bytes] = []

    def own(content: bytes, _: str) -> bytes:
        seen.append(content)
        return b"x"

    messages = Messages(Redactor(), 1000, own)
    assert [messages.clean(b"[]", "application/json").content for _ in range(2)] == [b"x", b"x"]
    assert seen == [b"[]", b"[]"]


def test_what_is_known_to_be_clean_is_bounded() -> None:
    messages = Messages(Redactor(), 1000)
    for number in range(2 * CLEAN + 5):
        messages.clean(b"[%d]" % number, "application/json")
    assert len(messages._clean) <= CLEAN
