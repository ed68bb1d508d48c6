"""The page at / and the files that it loads."""

from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from serving.failures import Refusal

router = APIRouter()
STATIC = Path(__file__).resolve().parent.parent / "page" / "static"
FILES = {"page.css": "text/css", "page.js": "text/javascript", "niivue.js": "text/javascript"}


@router.get("/")
async def page(_: Request) -> Response:
    """The page for people."""
    return FileResponse(STATIC / "index.html", media_type="text/html", headers={"Cache-Control": "no-cache"})


@router.get("/static/{name}")
async def static(_: Request, name: str) -> Response:
    """One of the page's files; nothing else in the folder."""
    if name not in FILES or not (STATIC / name).is_file():
        raise Refusal(404, "there is no such file", "the viewer is made by serving/page/build.sh")
    return FileResponse(STATIC / name, media_type=FILES[name], headers={"Cache-Control": "no-cache"})
