"""Write a comment into a pull request, or edit the one that is there, through GitHub's command line tool.

    python -m scripts.ci.comment --repository OWNER/NAME --pull-request 12 --body FILE

The comment is found by the marker in the first line of FILE, among those of --author alone: anybody can write a marker.
`gh` takes its token from GH_TOKEN.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

AUTHOR = "github-actions[bot]"  # whose token a workflow has
LONGEST = 65_536  # characters of a comment, which GitHub sets
CUT = "\n\nThis comment was cut; the artifact of the run has the rest.\n"


def gh(*argv: str, body: str | None = None) -> str:
    """What `gh api` prints. Raises CalledProcessError when it fails; its own message reaches the terminal."""
    given = json.dumps({"body": body}) if body is not None else None
    more = ("--input", "-") if body is not None else ()
    return subprocess.run(
        ["gh", "api", *argv, *more], input=given, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def find(repository: str, pull_request: int, marker: str, author: str) -> int | None:
    """The id of the first comment of `author` that begins with `marker`; None if there is none."""
    select = ".[] | {id, author: .user.login, body}"
    listed = gh("--paginate", f"repos/{repository}/issues/{pull_request}/comments?per_page=100", "--jq", select)
    comments = [json.loads(line) for line in listed.splitlines()]
    own = (each["id"] for each in comments if each["author"] == author and (each["body"] or "").startswith(marker))
    return next(own, None)


def put(repository: str, pull_request: int, body: str, author: str = AUTHOR) -> None:
    """Edit the comment with the marker of `body`, or write a first one."""
    marker = body.partition("\n")[0]
    text = body if len(body) <= LONGEST else body[: LONGEST - len(CUT)] + CUT
    known = find(repository, pull_request, marker, author)
    if known is None:
        gh("--method", "POST", f"repos/{repository}/issues/{pull_request}/comments", body=text)
    else:
        gh("--method", "PATCH", f"repos/{repository}/issues/comments/{known}", body=text)


def main(arguments: list[str]) -> int:
    """0 when the comment is there; 2 for a file without a marker."""
    parser = argparse.ArgumentParser(description="Write or edit a comment of a pull request.")
    parser.add_argument("--repository", required=True, help="OWNER/NAME")
    parser.add_argument("--pull-request", type=int, required=True, help="its number")
    parser.add_argument("--body", type=Path, required=True, help="a Markdown file that begins with <!-- a marker -->")
    parser.add_argument("--author", default=AUTHOR, help=f"whose comment it is (default: {AUTHOR})")
    chosen = parser.parse_args(arguments)
    body = chosen.body.read_text()
    if not body.startswith("<!-- "):
        print(
            f"error: {chosen.body} has no marker to find its comment by\n"
            "  remedy: begin the file with a line such as <!-- capillary: comparison -->",
            file=sys.stderr,
        )
        return 2
    put(chosen.repository, chosen.pull_request, body, chosen.author)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
