#!/bin/sh
# Push the patch $1 as the branch update/dependencies, and open a pull request if there is none. gh takes its token from
# GH_TOKEN and gives it to Git, so that it is in no command line and no file.
set -eu

branch=update/dependencies
git switch --quiet --create "$branch"
git apply --index "$1"
git -c user.name='github-actions[bot]' -c user.email='41898282+github-actions[bot]@users.noreply.github.com' \
    commit --quiet --message "Dependencies: newest versions that fit" \
    --message "Written by the workflow dependencies; the tests of the pull request decide."
gh auth setup-git
git push --quiet --force origin "$branch"
if [ -z "$(gh pr list --head "$branch" --state open --json number --jq '.[].number')" ]; then
    gh pr create --head "$branch" --title "Dependencies: newest versions that fit" --body-file - <<'BODY'
`constraints.txt`, the pins that repeat it, and the digest of the base image, as they are this week.

GitHub starts no workflow for a branch that a workflow pushed: close and reopen this pull request to run the tests.
BODY
fi
