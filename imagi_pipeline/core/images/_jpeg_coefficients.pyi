INTERFACE: int
LIBJPEG_TURBO: int

class Refused(Exception):  # noqa: N818 - the file is not wrong, only not for us
    args: tuple[str, str]

def rewrite(
    data: bytes,
    steps: bytes | None,
    dead_zone: float,
    least_ratio: float,
    huffman: int,
    orientation: int,
    keep_icc: bool,
    most_pixels: int,
    most_memory: int,
    /,
) -> tuple[bytes, int]: ...
