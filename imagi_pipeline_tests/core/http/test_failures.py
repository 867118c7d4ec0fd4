from __future__ import annotations

import errno

import pycurl
import pytest

from imagi_pipeline.core.errors import ErrorCode
from imagi_pipeline.core.http import failures


@pytest.mark.parametrize(
    ("code", "words", "number", "kind", "detail"),
    [
        (pycurl.E_COULDNT_RESOLVE_HOST, "x", 0, ErrorCode.DNS_FAILURE, "a.com has no address: x."),
        (pycurl.E_COULDNT_CONNECT, "", errno.ECONNREFUSED, ErrorCode.CONNECTION_REFUSED, "refused"),
        (pycurl.E_COULDNT_CONNECT, "", errno.EHOSTUNREACH, ErrorCode.CONNECTION_ERROR, "No route to host"),
        (pycurl.E_OPERATION_TIMEDOUT, "", 0, ErrorCode.TIMEOUT, "in time"),
        (
            pycurl.E_SSL_CONNECT_ERROR,
            "bad certificate",
            0,
            ErrorCode.TLS_ERROR,
            "No safe connection",
        ),
        (pycurl.E_SSL_CONNECT_ERROR, "unexpected eof", 0, ErrorCode.CONNECTION_ERROR, "broke"),
        (pycurl.E_PARTIAL_FILE, "", 0, ErrorCode.CONNECTION_ERROR, "less than it announced"),
        (pycurl.E_GOT_NOTHING, "", 0, ErrorCode.CONNECTION_ERROR, "without an answer"),
    ],
)
def test_each_error_of_libcurl_has_a_code_and_words_for_people(
    code: int, words: str, number: int, kind: ErrorCode, detail: str
) -> None:
    error = failures.of_libcurl(code, words, number, "a.com")
    assert error.kind is kind
    assert detail in error.detail


def test_an_address_that_is_blocked_is_named_beside_its_host() -> None:
    assert failures.blocked("a.com", "10.0.0.1").detail == "a.com is at 10.0.0.1, no public address."
    assert failures.blocked("10.0.0.1", "10.0.0.1").detail == "10.0.0.1 is no public address."


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, ErrorCode.HTTP_404),
        (410, ErrorCode.HTTP_404),
        (204, ErrorCode.EMPTY_BODY),
        (408, ErrorCode.TIMEOUT),
        (429, ErrorCode.RATE_LIMITED),
        (503, ErrorCode.SERVER_ERROR),
        (403, ErrorCode.HTTP_STATUS),
    ],
)
def test_each_status_has_its_code(status: int, code: ErrorCode) -> None:
    error = failures.of_status(status, "Some\x1b Reason", "7", "a.com")
    assert error.code == code.code
    assert error.retry_after == 7
    assert error.detail.startswith(f"a.com answered {status} Some")
    assert error.detail.isprintable()
