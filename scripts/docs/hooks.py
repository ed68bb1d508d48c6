"""What mkdocs calls while it builds the site: adds generated pages, and handles links to files outside docs/."""

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # mkdocs loads this file by its path

from scripts.docs.pages import reference_pages  # noqa: E402 - after the line that makes it importable

LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>\.\./[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference pages."""
    for path, text in reference_pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Turn links that leave docs/ into links to the repository, or into plain text where `repo_url` is not set."""
    return outward_links(markdown, page.file.src_uri, config.repo_url or "")


def outward_links(markdown: str, source: str, repository_url: str) -> str:
    """`markdown` of the page docs/`source`. Raises PluginError for a file that does not exist."""

    def replace(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(source), match["target"]))
        if path.startswith("docs/"):
            return match[0]
        if not (ROOT / path).exists():
            raise PluginError(f"docs/{source} links to {path}, which does not exist")
        if repository_url:
            return f"[{match['text']}]({repository_url.rstrip('/')}/blob/main/{path}{match['anchor'] or ''})"
        return f"{match['text']} (`{path}`)" if match["text"].strip("`") != path else f"`{path}`"

    return LINK.sub(replace, markdown)
