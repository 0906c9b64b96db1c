from hypothesis import given
from hypothesis import strategies as st

from flowlake.sources.errors import NotEntitled, RateLimited, redact

KEYS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=8, max_size=40)


@given(KEYS, st.sampled_from(["apiKey", "apikey", "api_key", "APIKEY", "token"]))
def test_a_key_in_a_query_is_removed_whether_known_or_not(key: str, name: str):
    assert key not in redact(f"https://api.massive.com/v3/x?limit=1&{name}={key}&cursor=a").replace(name, "")


@given(KEYS, st.text(max_size=20), st.text(max_size=20))
def test_a_known_key_is_removed_wherever_it_stands(key: str, before: str, after: str):
    # Inside other text the key could also arise across the seams of the mark that replaces it; not for real keys.
    assert f"{key}" not in redact(f"{before} {key} {after}", key) or key in "[key]"


def test_the_rest_of_the_url_survives():
    assert redact("https://h/p?limit=1&apiKey=abc&cursor=xyz") == "https://h/p?limit=1&apiKey=[key]&cursor=xyz"


def test_user_and_password_are_removed_from_urls():
    assert redact("see https://user:pass@evil.example/path") == "see https://evil.example/path"


def test_an_error_says_status_request_url_attempts_and_body_in_one_line():
    error = RateLimited("slow down", "https://h/p", 429, "req-1", "the body", attempts=6)
    assert str(error) == "slow down (HTTP 429; request req-1; https://h/p; after 6 attempts; body: the body)"


def test_an_error_without_facts_says_only_what_it_knows():
    assert str(NotEntitled("no", "https://h/p")) == "no (https://h/p)"
