"""The text of files in whatever character set they were written."""

import gzip
import random
import time

import pytest

from ui.files.charsets import decoded
from ui.files.text_files import MAX_FILE_BYTES

GERMAN = "Straße;Größe;Preis\nKönigsallee 4;groß;12,50\nMüllerstraße;Übergröße;3\n"
RUSSIAN = "Широка страна моя родная, много в ней лесов, полей и рек.\n"
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n"
POLISH = "Zażółć gęślą jaźń. Wisła płynie przez Kraków.\n"
TURKISH = "Pijamalı hasta yağız şoföre çabucak güvendi.\n"
CODE = "int main() {\n  return 0;  // {}\n}\n"
WRITTEN = {
    "utf-8": GERMAN,
    "utf-8-sig": GERMAN,
    "utf-16": GERMAN,
    "utf-32": GERMAN,
    "utf-16-le": GERMAN,
    "utf-16-be": "only ASCII; and digits, 12\n",
    "latin-1": GERMAN,
    "cp1252": GERMAN + "„Rabatt“ – 3 €\n",
    "cp850": GERMAN,
    "mac_roman": "Le garçon a mangé une crêpe à l'hôtel. C'est déjà l'été.\n",
    "cp1250": POLISH,
    "iso8859_2": POLISH,
    "cp1251": RUSSIAN,
    "koi8_r": RUSSIAN,
    "cp1253": "Σε γνωρίζω από την κόψη του σπαθιού την τρομερή\n",
    "cp1254": TURKISH,
    "cp1255": "שלום עולם, מה שלומך היום\n",
    "cp932": JAPANESE,
    "euc_jp": JAPANESE,
    "iso2022_jp": JAPANESE,
    "gb18030": "天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。\n",
    "big5": "天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。\n",
    "cp949": "나랏말싸미 듕귁에 달아 문자와로 서로 사맛디 아니할쎄\n",
}


@pytest.mark.parametrize("charset", WRITTEN)
def test_text_is_read_in_the_character_set_it_was_written_in(charset: str) -> None:
    for text in (WRITTEN[charset], WRITTEN[charset] * 200):
        assert decoded(text.replace("\n", "\r\n").encode(charset)) == text.rstrip()


@pytest.mark.parametrize(
    ("text", "charset"),
    [
        ("grün", "latin-1"),
        ("Preis: 3 €", "cp1252"),
        ("naïve café", "cp1252"),
        ("¿Dónde está el baño, señor?", "latin-1"),
        ("São Paulo, ação, três corações", "latin-1"),
        ("Það er gott að vera á Íslandi", "latin-1"),
        ("Árvíztűrő tükörfúrógép", "cp1250"),
        ("日本語", "cp932"),
        ("中文文件内容", "gb18030"),
        ("Привет", "cp1251"),
        (CODE.replace("{}", "Größe prüfen") * 30, "latin-1"),
        (CODE.replace("{}", "Привет, это комментарий") * 30, "cp1251"),
        (CODE.replace("{}", "日本語のコメント") * 30, "cp932"),
        ("日本語 です\n", "utf-16-le"),
        ("Привет мир\n", "utf-16-be"),
        ("ends as DOS ends it: größer\x1a", "latin-1"),
    ],
)
def test_short_texts_and_code_with_comments_are_read(text: str, charset: str) -> None:
    assert decoded(text.encode(charset)) == text.rstrip()


def test_one_broken_character_does_not_spoil_a_file_in_utf_8() -> None:
    assert decoded(("größer und größer, " * 9).encode() + b"\xfc") == "größer und größer, " * 9 + "\ufffd"


def test_what_is_no_text_is_none() -> None:
    noise = random.Random(7)
    samples = [
        noise.randbytes(4_000),
        gzip.compress(noise.randbytes(4_000)),
        b"\x7fELF\x00\xff",
        b"MZ\x90\x00\x03\x00",
        b"\x89PNG\r\n\x1a\n" + noise.randbytes(100),
        b"".join(bytes([noise.randrange(1, 256), 0]) for _ in range(4_000)),
        b"a\0b",
        b"\xff\xfe\x00\xd8\x00\xd8",
    ]
    assert [decoded(sample) for sample in samples] == [None] * len(samples)


@pytest.mark.parametrize(
    "piece",
    [b"\xe4", b"a", b"\xc4\xd6 \xdc", b"\x83\x40", b"\xff\xfe", b"\x1b$B", b"\xe4b\xf6c ", b"\x81", b"\x01\x00"],
)
def test_a_file_made_to_be_slow_is_looked_at_in_bounded_time(piece: bytes) -> None:
    content = (piece * MAX_FILE_BYTES)[: MAX_FILE_BYTES - 1] + b"\xfc"
    began = time.process_time()
    decoded(content)
    assert time.process_time() - began < 2
