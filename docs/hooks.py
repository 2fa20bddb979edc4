"""What mkdocs does besides: links and pictures from the rest of the repository, and nothing loaded from elsewhere."""

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

DOCS = Path(__file__).parent
ROOT = DOCS.parent
LINK = re.compile(r"(!?)\[([^\]]*)\]\((\.\./[^)#\s]+)\)")
LOADED = re.compile(r"""<(?:script|img|link|iframe)[^>]*\s(?:src|href)=["']?(?:https?:)?//[^>]*>""")
SHIM = "https://unpkg.com/iframe-worker/shim"
"""What Material loads for its search where the site is opened from a folder; a copy is in `assets/`."""
NOT_LOADED = re.compile(r'rel="?(canonical|prev|next)')


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the pictures that pages show from outside of `docs/`."""
    for page in DOCS.rglob("*.md"):
        for mark, _text, target in LINK.findall(page.read_text()):
            path = (page.parent / target).resolve()
            if mark and not path.is_relative_to(DOCS) and files.get_file_from_path(_copied(path)) is None:
                files.append(File.generated(config, _copied(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Point links to files outside of `docs/` to the repository; without its address only their text is left."""
    depth = page.file.src_uri.count("/")

    def point(found: re.Match[str]) -> str:
        mark, text, target = found.groups()
        path = (DOCS / page.file.src_uri).parent.joinpath(target).resolve()
        if path != DOCS and path.is_relative_to(DOCS):
            return found[0]
        if not path.exists():
            raise PluginError(f"{page.file.src_uri}: there is no {target}")
        if mark:
            return f"![{text}]({'../' * depth}{_copied(path)})"
        return f"[{text}]({config.repo_url}/blob/HEAD/{path.relative_to(ROOT)})" if config.repo_url else text

    return LINK.sub(point, markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Fail if a page loads anything from another host: the site is read without a network as well."""
    output = output.replace(SHIM, f"{'../' * page.file.src_uri.count('/')}assets/iframe-worker.js")
    for found in LOADED.finditer(output):
        if not NOT_LOADED.search(found[0]):
            raise PluginError(f"{page.file.src_uri} loads from elsewhere: {found[0]}")
    return output


def _copied(path: Path) -> str:
    return f"assets/{path.name}"
