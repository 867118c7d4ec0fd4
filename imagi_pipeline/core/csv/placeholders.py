"""Know the words that people and programs write where there is no image."""

from __future__ import annotations

import re

from imagi_pipeline.core.csv.urls import BLANKS

_LONGEST = 30
_DASHES = re.compile(r"[-–—]+|\\+n", re.IGNORECASE)
_ERROR_VALUE = re.compile(r"#(?:n/a|nv|n/d|getting_data|[¡¿]?[^\W\d_][\w/¡]{1,12} ?[!?])", re.IGNORECASE)
_IN_BRACKETS = re.compile(r"[\[(<{]([^\])>}]*+)[\])>}]")

_UNMISTAKABLE = frozenset(
    {"n/a", "na", "n.a.", "n.a", "none", "null", "nil", "nan", "undefined", "no_selection"}
)
_WORDS = frozenset(
    {
        *(
            "none.",
            "n / a",
            "??",
            "loading...",
            "no image available",
            "no image found",
            "no picture available",
        ),
        *("image not available", "image not found", "image coming soon", "coming soon", "not applicable"),
        *("tidak ada", "tidak ada gambar", "нема", "žádný obrázek", "bez zdjęcia", "nincs kép", "görsel yok"),
        *("n/a", "na", "n.a.", "n.a", "n/v", "n/d", "n.d.", "nd", "s/n", "k.a.", "k. a.", "tbd", "tba"),
        *(
            "none",
            "null",
            "nil",
            "nan",
            "undefined",
            "void",
            "false",
            "0",
            "empty",
            "blank",
            "missing",
            "?",
            "_",
            ".",
            "..",
            "...",
        ),
        # Magento; others that the exports of shops hold
        *("no_selection", "no selection", "noselection", "not available", "not set", "unavailable"),
        *("no image", "no-image", "no_image", "noimage", "no picture", "no photo", "no img", "image missing"),
        *("kein", "keine", "kein bild", "kein foto", "leer", "fehlt", "nicht vorhanden"),
        *("aucun", "aucune", "aucune image", "sans image", "pas d'image", "vide", "non disponible"),
        *("ninguno", "ninguna", "sin imagen", "sin foto", "vacío", "no disponible"),
        *("nessuno", "nessuna", "nessuna immagine", "senza immagine", "vuoto"),
        *("nenhum", "nenhuma", "sem imagem", "sem foto", "vazio"),
        *("geen", "geen afbeelding", "leeg", "ingen", "inget", "inga", "ingen bild", "ingen bilde"),
        *(
            "ingen billede",
            "ei kuvaa",
            "brak",
            "brak zdjęcia",
            "bez obrázku",
            "žádný",
            "nincs",
            "yok",
            "resim yok",
        ),
        *("нет", "нет фото", "нет изображения", "немає", "няма", "пусто"),
        *(
            "なし",
            "無し",
            "無",
            "画像なし",
            "无",
            "無圖",
            "无图",
            "暂无",
            "暂无图片",
            "没有",
            "없음",
            "이미지 없음",
        ),
        *("không có", "ไม่มี", "لا يوجد", "אין"),
    }
)


def is_placeholder(text: str) -> bool:
    """Return whether the text says that there is no image: blank, `N/A`, `-`, `none`, `no_selection`,
    `#REF!`.
    """
    bare = text.strip(BLANKS)
    if not bare:
        return True
    if len(bare) > _LONGEST:
        return not bare.strip("-–—")
    folded = bare.casefold()
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
