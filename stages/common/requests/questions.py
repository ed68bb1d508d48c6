"""Where the stage `models` leaves its answer to a question about the registry."""

ANSWER = "answer"
ANSWER_FILE = "answer.json"
