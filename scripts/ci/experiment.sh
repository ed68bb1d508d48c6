#!/bin/sh
# Run the experiment that CONFIG names, and copy its report, metrics and logs to the folder OUT, also if it failed.
# DEBUG=true rehearses it. Ends with the exit code of `capillary experiment` (docs/exit-codes.md).
set -eu

case "$CONFIG" in
    */../* | ../* | -*) allowed=no ;;
    configs/experiments/*.yaml | configs/experiments/*.yml) allowed=yes ;;
    *) allowed=no ;;
esac
if [ "$allowed" = no ] || [ ! -f "$CONFIG" ]; then
    echo "error: there is no experiment file $CONFIG
remedy: name one below configs/experiments, such as configs/experiments/smoke.yaml" >&2
    exit 2
fi
recipe=experiment
[ "${DEBUG:-false}" != true ] || recipe=experiment-debug

rm -rf "$OUT"
mkdir -p "$OUT"
# whatever is older was written by a previous run in this checkout
touch -d "2 seconds ago" "$OUT/started"
code=0
./just "$recipe" --config "$CONFIG" || code=$?

for folder in reports metrics .capillary/logs; do
    [ -d "$folder" ] || continue
    find "$folder" -type f -newer "$OUT/started" | while IFS= read -r file; do
        mkdir -p "$OUT/$(dirname "${file#.}")"
        cp "$file" "$OUT/${file#.}"
    done
done
for report in "$OUT"/reports/*/report.md; do
    [ ! -f "$report" ] || [ -z "${GITHUB_STEP_SUMMARY:-}" ] || cat "$report" >> "$GITHUB_STEP_SUMMARY"
done
rm "$OUT/started"
exit "$code"
