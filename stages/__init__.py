"""One folder per stage. A stage imports stages.common and itself, nothing else of this project."""
