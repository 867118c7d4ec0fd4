from __future__ import annotations

from imagi_pipeline.core.savings import COLUMNS, savings_by_host

HEADER = "url,key,status,source_format,source_bytes,bytes,error\n"


def report(*rows: str) -> bytes:
    return (HEADER + "".join(f"{row}\n" for row in rows)).encode()


def test_images_are_counted_by_host_and_format_the_largest_saving_first() -> None:
    rows = savings_by_host(
        [
            report(
                "https://a.example/1.png,one,ok,PNG,1000,890,",
                "https://user:pw@A.example:8443/2.jpg?x=/,two,ok,JPEG,5000,1000,",
                "https://[2001:db8::1]/3.jpg,three,reused,JPEG,300,200,",
            ),
            report("https://a.example/4.jpg,four,ok,JPEG,1000,500,"),
        ]
    )
    assert list(rows.columns) == COLUMNS
    assert rows.to_numpy().tolist() == [
        ["a.example", "JPEG", 2, 6000, 1500, 75.0],
        ["a.example", "PNG", 1, 1000, 890, 11.0],
        ["[2001:db8::1]", "JPEG", 1, 300, 200, 33.3],
    ]


def test_an_image_of_two_requests_counts_once_as_its_last_report_has_it() -> None:
    old, new = (f"https://a.example/1.jpg,one,ok,JPEG,1000,{size}," for size in (900, 600))
    rows = savings_by_host([report(old), report(new)])
    assert rows[["images", "bytes_after"]].to_numpy().tolist() == [[1, 600]]


def test_a_failed_image_counts_only_if_it_keeps_a_copy() -> None:
    rows = savings_by_host(
        [
            report(
                'https://a.example/1.jpg,one,failed,,,,"gone, for good"',
                "https://a.example/2.jpg,two,failed,JPEG,1000,500,late",
            )
        ]
    )
    assert rows["images"].tolist() == [1]


def test_no_request_has_saved_nothing_yet() -> None:
    assert list(savings_by_host([]).columns) == COLUMNS
    assert savings_by_host([report()]).empty
