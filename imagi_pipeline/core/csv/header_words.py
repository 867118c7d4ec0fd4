"""These words in the names of columns tell a column of images from others."""

from __future__ import annotations

import re

SAYS_IMAGE = re.compile(
    r"image|imagin|photo|picture|thumb|galler|galeri|screenshot|foto|bild|billede|immagin|afbeelding"
    r"|zdj[eę]ci|obr[aá]z|snímek|\bkuva|kép|resim|görsel|nuotrauk|attēl|\bpilt|gambar|\bslik[ae]"
    r"|画像|写真|图片|圖片|图像|圖像|照片|изображени|картинк|фото|зображення|снимк|εικόν|φωτο"
    r"|صور|תמונ|이미지|사진|รูป|ảnh"
    r"|(?<![^\W_])(?:imgs?|pics?|cover|poster|avatar|logo|icon|banner)(?![^\W\d_])"
)
"""These words mean image, in lower case: they tell apart image columns from others, and code pages."""

SAYS_ABOUT_IMAGE = re.compile(
    r"(?<![^\W\d_])(?:alt|text|description|caption|title|count|number of|position|width|height|size"
    r"|type|colou?r|id|name|filename|date|credits?|licen[cs]e|author|copyright|status|errors?|labels?"
    r"|order|sort|hash|md5|tags?)(?![^\W\d_])"
)
"""Words that make a column say something of an image instead of holding its URL."""

SAYS_URL = re.compile(r"ur[il]|link|src|href|adres")
SAYS_PAGE = re.compile(
    r"link|page|permalink|product[ _-]?url|website|site|href|handle|webseite|seite|página|pagina|ссылка"
)
SAYS_ONLY_URL = re.compile(r"(?:[\s_.-]*(?:url|uri|link|href|page|web|site|address|permalink))+$")
"""The end of a name that adds nothing but that the value is an address."""

_CAMEL_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


def words(name: str) -> str:
    """Return the name of a column in lower case, `imageUrl` as two words."""
    return _CAMEL_HUMP.sub(" ", name).casefold()
