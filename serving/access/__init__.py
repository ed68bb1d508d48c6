"""Who may call, with what, and from where."""
