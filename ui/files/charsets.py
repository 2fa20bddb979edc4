"""Character set detection: UTF-8 where valid, else the most plausible character set."""

import codecs
import re

from charset_normalizer import from_bytes

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The likelier one first: the bytes of a short text fit several.
CHARSETS = [
    *("cp1252", "cp1255", "cp1251", "koi8_r", "cp932", "euc_jp", "cp949", "gb18030"),
    *("big5", "cp1250", "cp1254", "cp1253", "cp1256", "cp850", "cp866", "mac_roman"),
]
LOOKED_AT_CHARS = 64 * 1024
SAME_CHAOS = 0.01  # of charset-normalizer's measure, which goes from 0 to 1
_CONTROLS = re.compile(r"[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f]")
_OF_UTF_16 = re.compile(
    r"[\t-\r\x1b -~\xa0-\u07ff\u0900-\u0dff\u0e00-\u0eff\u2010-\u203a\u20a0-\u20bf\u2190-\u22ff\u2500-\u257f"
    r"\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7a3\uff00-\uffef\U0001f300-\U0001faff]+"
)
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_WESTERN = re.compile(
    r"[äöüßéèêëàâáåãæçîïíìôóòõøûùúñœÿÄÖÜÉÈÊËÀÂÁÅÃÆÇÎÏÍÌÔÓÒÕØÛÙÚÑŒ«»„“”‚‘’‹›–—…•·€£¥§°©®™¿¡½¼¾²³µ×´\xa0\xad]"
)
_WORD = re.compile(r"[A-Za-zÀ-ÖØ-öø-ÿœŒ]+")
_SIGN_IN_WORD = re.compile(r"[A-Za-z][„“”‚…•€™£¥§][a-z]")
_TURKISH = re.compile(r"[ðýþÐÝÞ]")  # read as Windows-1252, where they are Icelandic
_ICELANDIC = re.compile(r"[áíóúæ]")
_NOT_HUNGARIAN = re.compile(r"[ãçäÃÇÄ]")
_NOT_HEBREW = re.compile(rb"[\xc0-\xdf\xfb-\xff]")
_NOT_RUSSIAN = re.compile(r"[а-яё][А-ЯЁЀ-Џ]")
_NOT_RUSSIAN_IN_KOI8 = re.compile(r"[─-▟]")
_HANGUL = re.compile(r"[가-힣]")
_KANA = re.compile(r"[ぁ-ヿ]")
_IDEOGRAPH = re.compile(r"[一-鿿]")
_NOT_ISO_8859 = re.compile(rb"[\x80-\x9f]")


def decoded(content: bytes) -> str | None:
    """Return the text of a file; None if it is not text. Takes up to 0.1 s for 256 KB."""
    if b"\0" in content:
        text = _utf_16(content)
    else:
        text = _iso_2022(content) or _utf_8(content)
        for read in (_marked, _of_eight_bits):
            text = read(content) if text is None else text
    return None if text is None else text.replace("\r\n", "\n").rstrip()


def _iso_2022(content: bytes) -> str | None:
    """Return the text of what is written in seven bits with escapes, as Japanese mail is."""
    text = _in("iso2022_jp", content) if b"\x1b$B" in content else None
    return text if text and _NOT_ASCII.search(text) else None


def _utf_8(content: bytes) -> str | None:
    """Return the text if it is UTF-8, with `�` in place of single broken characters."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("utf-8-sig", "replace")
    broken = text.count("\ufffd")
    others = len(_NOT_ASCII.findall(text)) - broken
    return text if others > 4 * broken and not _CONTROLS.search(text) else None


def _marked(content: bytes) -> str | None:
    for mark, charset in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return _without_controls(_in(charset, content))
    return None


def _utf_16(content: bytes) -> str | None:
    """Return the text if it is UTF-16 or UTF-32; without a mark the upper halves of ASCII alone are 0."""
    if (text := _marked(content)) is not None:
        return text
    halves = {"utf-16-le": content[1::2], "utf-16-be": content[::2]}
    for charset, upper in halves.items():
        text = _in(charset, content) if upper.count(0) == content.count(0) else None
        if text and _OF_UTF_16.fullmatch(text):
            return text
    return None


def _of_eight_bits(content: bytes) -> str | None:
    western = _in("cp1252", content)
    if western is not None and _is_western(western[:LOOKED_AT_CHARS]):
        return _without_controls(western)
    matches = from_bytes(content, cp_isolation=CHARSETS)
    fit = {
        charset
        for match in matches
        if match.chaos <= matches[0].chaos + SAME_CHAOS
        for charset in match.could_be_from_charset
    }
    fit -= _unlikely(content)
    charset = next((charset for charset in CHARSETS if charset in fit), None)
    if charset == "cp1250" and not _NOT_ISO_8859.search(content):
        charset = "iso8859_2"
    return _without_controls(_in(charset, content) if charset else western)


def _unlikely(content: bytes) -> set[str]:
    """Return the character sets of languages that this cannot be written in."""
    unlikely: set[str] = set()
    if _NOT_HEBREW.search(content):
        unlikely.add("cp1255")
    if _NOT_RUSSIAN.search(content.decode("cp1251", "replace")):
        unlikely.add("cp1251")
    if _NOT_RUSSIAN_IN_KOI8.search(content.decode("koi8_r")):
        unlikely.add("koi8_r")
    korean = content.decode("cp949", "replace")
    if len(_HANGUL.findall(korean)) <= len(_IDEOGRAPH.findall(korean)):
        unlikely.add("cp949")
    if not _KANA.search(content.decode("euc_jp", "replace")):
        unlikely.add("euc_jp")
    western = content.decode("cp1252", "replace")
    is_turkish = _TURKISH.search(western) and not _ICELANDIC.search(western)
    return unlikely | ({"cp1252", "cp1250"} if is_turkish else {"cp1254"})


def _is_western(text: str) -> bool:
    """Whether a text read as Windows-1252, which Latin-1 is part of, looks like one in a Western language."""
    others = "".join(_NOT_ASCII.findall(text))
    if len(_WESTERN.findall(others)) < 0.97 * len(others) or _SIGN_IN_WORD.search(text):
        return False
    if "õ" in others and not _NOT_HUNGARIAN.search(others):
        return False
    words = "".join(
        word for word in _WORD.findall(text) if not word.isascii()
    )  # in another alphabet these have hardly a letter of ASCII
    return len(_NOT_ASCII.findall(words)) <= 0.5 * len(words)


def _in(charset: str, content: bytes) -> str | None:
    try:
        return content.decode(charset)
    except UnicodeDecodeError:
        return None


def _without_controls(text: str | None) -> str | None:
    """Return the text; None if it contains binary control characters. DOS text may end with one."""
    return None if text is None or _CONTROLS.search(text.removesuffix("\x1a")) else text
