"""Practice questions: what gives a key away, and what a solver makes of them."""
