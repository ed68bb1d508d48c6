"""Networks with known answers, and what is predicted with them."""
