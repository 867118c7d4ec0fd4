"""This tree shows everything that can go wrong, with its codes.

    ImagiError                  base of all that this package raises on purpose
    ├── CsvError                the whole request cannot be done; the sender of the CSV must act
    │     empty_csv             not_a_csv             unreadable_text
    │     unknown_column        no_image_references   too_many_problems
    │     csv_too_large         csv_timeout           csv_reader_crashed
    ├── ImageError              one image cannot be done; the request goes on without it
    │   ├── UrlError            what stands in the cell is no usable URL
    │   │     relative_url  unsupported_scheme  data_uri  bare_base64  credentials_in_url
    │   │     url_too_long  invalid_url
    │   ├── FetchError          the source image could not be downloaded
    │   │     dns_failure  connection_refused  connection_error  tls_error  timeout  http_404
    │   │     http_status  rate_limited  server_error  blocked_address  too_many_redirects
    │   │     bad_redirect  too_large  host_down  empty_body
    │   ├── CodecError          the bytes could not be decoded or encoded
    │   │     not_an_image  unsupported_format  corrupt_image  too_many_pixels  encoding_failed
    │   │     decoder_crashed  decoder_timeout
    │   └── InternalError       a fault of this program, which cost only this image
    │         internal_error
    ├── OptionError             an option of a request cannot be; whoever hands it in must act
    │     invalid_option
    └── StorageError            the storage refused a read or a write: nothing can go on
          storage_failure

A code is permanent when trying again without a change elsewhere cannot help, and transient otherwise.
"""

from __future__ import annotations

from enum import Enum

from imagi_pipeline.core.printable import LONGEST_MESSAGE, printable


class ErrorCode(Enum):
    """A kind of failure: its stable name, whether a later try may succeed, and what to do about it."""

    EMPTY_CSV = ("empty_csv", False, "Export the file again and check that it has rows.")
    NOT_A_CSV = ("not_a_csv", False, "Save the file as CSV (in a spreadsheet: Save as, CSV UTF-8).")
    UNREADABLE_TEXT = ("unreadable_text", False, "Save the file as CSV in UTF-8.")
    UNKNOWN_COLUMN = ("unknown_column", False, "Name a column that the header has.")
    CSV_TOO_LARGE = (
        "csv_too_large",
        False,
        "Split the file, remove what is no table, or raise the limits IMAGI_CSV_MAX_...",
    )
    CSV_TIMEOUT = ("csv_timeout", False, "Split the file, or raise IMAGI_CSV_TIMEOUT.")
    CSV_READER_CRASHED = ("csv_reader_crashed", False, "Split the file, or raise IMAGI_CSV_MEMORY_BYTES.")
    TOO_MANY_PROBLEMS = (
        "too_many_problems",
        False,
        "Name the column that holds the image URLs, or give a base URL if they are relative.",
    )
    NO_IMAGE_REFERENCES = (
        "no_image_references",
        False,
        "Name the column that holds the image URLs, or give a base URL if they are relative.",
    )

    INVALID_OPTION = ("invalid_option", False, "Correct it, or leave it out.")

    RELATIVE_URL = ("relative_url", False, "Write the whole URL, or give a base URL.")
    UNSUPPORTED_SCHEME = ("unsupported_scheme", False, "Use an http or https URL.")
    DATA_URI = ("data_uri", False, "Put the image on a web server and give its URL.")
    BARE_BASE64 = ("bare_base64", False, "Put the image on a web server and give its URL.")
    CREDENTIALS_IN_URL = (
        "credentials_in_url",
        False,
        "Remove the user name and password from the URL.",
    )
    URL_TOO_LONG = ("url_too_long", False, "Use a URL of at most 2,048 bytes.")
    INVALID_URL = ("invalid_url", False, "Correct the URL.")

    DNS_FAILURE = ("dns_failure", True, "Check the host name.")
    CONNECTION_REFUSED = ("connection_refused", True, "Check that the image host is up.")
    CONNECTION_ERROR = ("connection_error", True, "Try again later.")
    TLS_ERROR = ("tls_error", False, "Have the certificate of the image host renewed or corrected.")
    TIMEOUT = ("timeout", True, "Try again later; the image host is slow or down.")
    HTTP_404 = ("http_404", False, "Correct the URL: the image is not there.")
    HTTP_STATUS = ("http_status", False, "Open the URL in a browser: the host refuses it.")
    RATE_LIMITED = ("rate_limited", True, "Try again later, or lower IMAGI_CONNECTIONS_PER_HOST.")
    SERVER_ERROR = ("server_error", True, "Try again later; the image host has a fault.")
    BLOCKED_ADDRESS = (
        "blocked_address",
        False,
        "If this network is yours, add it to IMAGI_ALLOWED_NETWORKS.",
    )
    TOO_MANY_REDIRECTS = ("too_many_redirects", False, "Give the URL that the redirects end at.")
    BAD_REDIRECT = ("bad_redirect", False, "Give the image's final URL.")
    TOO_LARGE = ("too_large", False, "Use a smaller file, or raise IMAGI_MAX_SOURCE_BYTES.")
    HOST_DOWN = ("host_down", True, "Try again when the image host is up.")
    EMPTY_BODY = ("empty_body", True, "The host sent nothing; check the URL in a browser.")

    NOT_AN_IMAGE = ("not_an_image", False, "Open the URL in a browser: it shows no image.")
    UNSUPPORTED_FORMAT = ("unsupported_format", False, "Use JPEG, PNG, WebP, GIF, AVIF or TIFF.")
    CORRUPT_IMAGE = ("corrupt_image", False, "Upload the image again to its host: it is damaged.")
    TOO_MANY_PIXELS = ("too_many_pixels", False, "Use a smaller image, or raise IMAGI_MAX_PIXELS.")
    ENCODING_FAILED = ("encoding_failed", False, "Use another output format for this image.")
    DECODER_CRASHED = (
        "decoder_crashed",
        False,
        "The image crashes the decoder; export it again from its editor.",
    )
    DECODER_TIMEOUT = ("decoder_timeout", False, "Use a simpler image, or raise IMAGI_CODEC_TIMEOUT.")

    INTERNAL_ERROR = (
        "internal_error",
        True,
        "This is a fault of imagi_pipeline: please report it with the log of the run.",
    )

    STORAGE_FAILURE = ("storage_failure", True, "Check the space and permissions of IMAGI_STORAGE.")

    def __init__(self, code: str, transient: bool, advice: str) -> None:
        self.code = code
        self.transient = transient
        self.advice = advice

    @classmethod
    def of(cls, code: str) -> ErrorCode:
        """Return the member whose stable name is `code`; KeyError when there is none."""
        return _BY_CODE[code]


_BY_CODE = {member.code: member for member in ErrorCode}


class ImagiError(Exception):
    """A failure with a code, a message for people, and the advice that belongs to the code.

    Whatever `detail` quotes of hosts, files and libraries is made printable and short here.
    """

    def __init__(self, kind: ErrorCode, detail: str) -> None:
        detail = printable(detail, LONGEST_MESSAGE)
        super().__init__(f"{detail} {kind.advice}")
        self.kind = kind
        self.detail = detail

    @property
    def code(self) -> str:
        """Return the stable name of the failure, for programs."""
        return self.kind.code

    @property
    def message(self) -> str:
        """Return what happened and what to do, one line."""
        return str(self)

    @property
    def transient(self) -> bool:
        """Return whether a later try may succeed without any change."""
        return self.kind.transient


class CsvError(ImagiError):
    """The request as a whole cannot be done; `row`, from 1, and `column` are where, if it is one place."""

    def __init__(
        self, kind: ErrorCode, detail: str, *, row: int | None = None, column: str | None = None
    ) -> None:
        super().__init__(kind, detail)
        self.row = row
        self.column = column


class ImageError(ImagiError):
    """One image cannot be done."""


class UrlError(ImageError):
    """A cell holds something that is no usable image URL."""


class FetchError(ImageError):
    """A source image could not be downloaded.

    `retry_after` is what the host asked for, in seconds from now, if it asked.
    """

    def __init__(self, kind: ErrorCode, detail: str, retry_after: float | None = None) -> None:
        super().__init__(kind, detail)
        self.retry_after = retry_after


class CodecError(ImageError):
    """The bytes of an image could not be decoded or encoded."""


class InternalError(ImageError):
    """An error that this program did not foresee."""


class OptionError(ImagiError):
    """A request cannot have this option, or not with this value; `option` is its name."""

    def __init__(self, option: str, detail: str) -> None:
        super().__init__(ErrorCode.INVALID_OPTION, detail)
        self.option = printable(option)


class StorageError(ImagiError):
    """The storage refused a read or a write."""
