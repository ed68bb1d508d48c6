"""The model card of a network: its form, and what each field may hold."""
