"""Know the words that people and programs write where there is no image."""

from __future__ import annotations

import re

from imagi_pipeline.core.csv.urls import BLANKS

_LONGEST = 30
_DASHES = re.compile(r"[-–—]+|\\+[n0]", re.IGNORECASE)
_ERROR_VALUE = re.compile(
    r"#+|#(?:n/a|н/д|nv|n/d|yok|getting_data|[¡¿]?[^\W\d_][\w/¡]{1,12} ?[!?])", re.IGNORECASE
)
_IN_BRACKETS = re.compile(r"[\[(<{]([^\])>}]*+)[\])>}]")

_UNMISTAKABLE = frozenset(
    {"n/a", "na", "n.a.", "n.a", "none", "null", "nil", "nan", "undefined", "no_selection"}
)
_WORDS = frozenset(
    word.casefold()
    for line in (
        r"none|none.|n/a|n / a|na|n.a.|n.a|n\a|n/v|n/d|n.d.|nd|s/n|s/d|s/i|k.a.|k. a.|tbd|tba|todo|?|??|???",
        "null|nil|nan|nat|undefined|void|false|no|0|0.0|-1|_|.|..|...|*|***|x|xx|xxx|#|[object object]|[]|{}",
        "empty|blank|missing|missing value|nothing|unknown|unspecified|unavailable|deleted|removed",
        "loading...|placeholder|default|pending|no_selection|no selection|noselection",
        "not available|not set|not provided|not found|not applicable|to follow|coming soon|image coming soon",
        "no image|no-image|no_image|noimage|no img|no picture|no photo|image missing|no image available",
        "no image found|no picture available|image not available|image not found|#n/a n/a",
        "kein|keine|keine angabe|kein bild|kein foto|kein bild vorhanden|ohne bild|leer|fehlt|unbekannt",
        "nicht vorhanden|nicht verfügbar|bild fehlt|folgt|bild folgt",
        "aucun|aucune|aucune image|aucune photo|sans image|pas d'image|pas de photo|vide|inconnu",
        "non disponible|à venir|en attente",
        "ninguno|ninguna|sin imagen|sin imágen|sin foto|vacío|no disponible|próximamente|desconocido",
        "nessuno|nessuna|nessuna immagine|senza immagine|senza foto|vuoto|nenhum|nenhuma|nenhuma imagem",
        "sem imagem|sem foto|vazio|fără imagine|niciuna|pilt puudub|nav attēla|nėra|nėra nuotraukos",
        "geen|geen afbeelding|geen foto|zonder afbeelding|leeg|ingen|inget|inga|ingen bild|ingen bilde",
        "ingen billede|intet billede|saknas|bild saknas|ei kuvaa|ei ole",
        "brak|brak zdjęcia|brak obrazka|brak obrazu|bez zdjęcia|bez obrázku|žádný|žádný obrázek",
        "nema|nema slike|ni slike|nincs|nincs kép|yok|resim yok|görsel yok",
        "tidak ada|tidak ada gambar|tiada|không|không có",
        "нет|нет фото|нет картинки|нет изображения|без фото|отсутствует|немає|немає фото|пусто",
        "няма|няма снимка|нема|χωρίς εικόνα|δεν υπάρχει",
        "なし|無し|無|画像なし|画像無し|無画像|写真なし|イメージなし",
        "无|無圖|無图|无图|无图片|暂无|暂无图片|暫無圖片|没有|沒有|없음|이미지 없음|사진 없음",
        "ไม่มี|ไม่มีรูป|لا يوجد|لا توجد صورة|אין|אין תמונה|ללא תמונה|कोई नहीं|कोई छवि नहीं",
    )
    for word in line.split("|")
)
"""Words of programs, of shops, and of people in many languages, in small letters."""


def is_placeholder(text: str) -> bool:
    """Return whether the text says that there is no image: blank, `N/A`, `-`, `none`, `no_selection`,
    `#REF!`.
    """
    bare = text.strip(BLANKS)
    if not bare:
        return True
    if len(bare) > _LONGEST:
        return not bare.strip("-–—")
    folded = bare.casefold().replace("’", "'")
    return folded in _WORDS or _is_sign(folded)


def is_no_part_of_a_url(text: str) -> bool:
    """Return whether the text, which follows a URL, can only mean that there is no other image."""
    folded = text.strip(BLANKS).casefold()
    return not folded or folded in _UNMISTAKABLE or (len(folded) <= _LONGEST and _is_sign(folded))


def _is_sign(text: str) -> bool:
    """Return whether it is a dash, an error value of a spreadsheet, or a word for nothing in brackets."""
    if _DASHES.fullmatch(text) or _ERROR_VALUE.fullmatch(text):
        return True
    match = _IN_BRACKETS.fullmatch(text)
    return match is not None and match[1].strip() in _WORDS
