import pytest

from imagi_pipeline.core.csv.reading import read_csv
from imagi_pipeline_tests.core.csv.tables import CDN, ONE, TWO, csv_error, references


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Input Image Urls",
            "Image Src",
            "Images",
            "image_link",
            "image10",
            "imageUrl",
            "Main Photo",
            "img",
            "PIC_2",
        ),
        *("Bild", "Bild-URL", "Foto", "imagen", "immagine", "afbeelding", "zdjęcie", "bilde", "kép"),
        *("画像", "图片", "изображение"),
    ],
)
def test_a_header_that_says_image_is_enough(name: str) -> None:
    table = read_csv(f"id,link,{name}\n1,https://shop.com/1,{CDN}\n".encode())
    assert table.url_columns == [name]


@pytest.mark.parametrize(
    ("data", "columns"),
    [
        (f"id,link\n1,{ONE}\n", ["link"]),
        (f"id,url\n1,{CDN}\n", ["url"]),
        (f"id,product_url\n1,{CDN}\n", []),
        (f"id,permalink,url\n1,https://shop.com/1,{ONE}\n", ["url"]),
        ("id,url\n1,https://shop.com/shoe.html\n", []),
        (f"id,image\n1,{ONE}\n2,N/A\n3,-\n", ["image"]),
        (f"id,image,image alt text\n1,{ONE},see {TWO}\n", ["image"]),
        (f"id,text,image\n1,<img src='{ONE}'>,{CDN}\n", ["image"]),
        ("id,file\n1,a.jpg\n2,b.jpg\n", ["file"]),
        (f"image1,image2\n{CDN},\n,{CDN}\n", ["image1", "image2"]),
        ("id,name\n1,shoe\n", []),
    ],
)
def test_other_columns_are_judged_by_their_values(data: str, columns: list[str]) -> None:
    assert read_csv(data.encode()).url_columns == columns


@pytest.mark.parametrize("wanted", ["Link", "link", " LINK ", "2"])
def test_a_column_may_be_named_by_header_or_number(wanted: str) -> None:
    table = read_csv(f"image,Link\n{ONE},{CDN}\n".encode(), url_columns=[wanted])
    assert references(table) == [(2, "Link", 1, CDN)]


@pytest.mark.parametrize("wanted", ["photo", "0", "3", ""])
def test_an_unknown_column_is_refused_and_the_known_ones_are_named(wanted: str) -> None:
    error = csv_error(f"image,Link\n{ONE},{CDN}\n".encode(), url_columns=[wanted])
    assert error.code == "unknown_column"
    assert "image, Link" in error.message


@pytest.mark.parametrize("page", ["https://shop.example/photo/7", "https://shop.example/boot.html"])
def test_a_column_of_pages_beside_one_of_images_is_not_searched_and_that_is_told(page: str) -> None:
    data = f"id,photo_url,photo_image_url\n1,{page},{CDN}\n2,{page},{CDN}\n".encode()
    table = read_csv(data)
    assert table.url_columns == ["photo_image_url"]
    (warning,) = table.warnings
    assert (warning.column, "photo_url" in warning.message) == ("photo_url", True)
    assert read_csv(data, url_columns=["photo_url"]).url_columns == ["photo_url"]
